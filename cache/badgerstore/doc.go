// Package badgerstore keeps the verified pieces of one torrent on disk, in a
// Badger database of their own directory.
//
// A piece is cut into slabs of 256 KiB, which go to Badger's value log, and has
// one small record in the LSM tree with its length and a CRC-32C for every slab.
// Both are written in one transaction where they fit; a longer piece writes its
// slabs first and the record last, so a crash leaves no record without data. At
// Open the records alone say which pieces are had. Every slab that is read is
// checked against its record, every time: Badger swallows read errors, and a
// power loss or a rotten sector shows up as a miss, never as wrong bytes.
//
// Badger writes by storing into sparse mapped files, so a full file system kills
// the process with SIGBUS. The store therefore asks for free space before every
// commit, allocates the blocks of the files that the commit will touch, and keeps
// a ballast file to give up in need. Below its reserve it refuses to write with
// cache.ErrNoSpace, goes on reading, and writes again when there is space.
//
// One writer at a time (Put, Delete's clean-up, reclaiming) holds a token;
// readers never wait for it unless they find damage. The package keeps no bytes
// in memory and has no eviction policy: cache.Cache is the RAM tier in front.
package badgerstore
