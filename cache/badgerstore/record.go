package badgerstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// slabSize is the length in bytes of every slab of a piece but the last.
const slabSize = 256 << 10

// The first byte of a key says what it names.
const (
	recordTag  = 'r' // + piece, big-endian: a record
	slabTag    = 's' // + piece + slab number, big-endian: bytes of a piece
	scratchTag = 'x' // a key that is there to be dropped, see reclaim
)

func recordKey(piece int) []byte {
	return binary.BigEndian.AppendUint32([]byte{recordTag}, uint32(piece))
}

// parseRecordKey returns the piece that a record's key names.
func parseRecordKey(k []byte) (piece int, ok bool) {
	if len(k) != 5 || k[0] != recordTag {
		return 0, false
	}
	return int(binary.BigEndian.Uint32(k[1:])), true
}

func slabKey(piece, slab int) []byte {
	k := binary.BigEndian.AppendUint32([]byte{slabTag}, uint32(piece))
	return binary.BigEndian.AppendUint32(k, uint32(slab))
}

// numSlabs returns how many slabs a piece of n bytes has.
func numSlabs(n int) int { return (n + slabSize - 1) / slabSize }

// slabLen returns the length of one slab of a piece of n bytes.
func slabLen(n, slab int) int { return min(slabSize, n-slab*slabSize) }

// record is the encoded record of a piece:
//
//	offset 0  format version, 1 byte
//	offset 1  flags, 1 byte, zero
//	offset 2  length of the piece in bytes, 4 bytes big-endian
//	offset 6  number of slabs, 4 bytes big-endian
//	offset 10 CRC-32C of every slab, 4 bytes big-endian each
type record []byte

const (
	recordVersion = 1
	recordHeader  = 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func slabSum(slab []byte) uint32 { return crc32.Checksum(slab, castagnoli) }

// recordLen returns the length of the record of a piece of n bytes.
func recordLen(n int) int { return recordHeader + 4*numSlabs(n) }

// newRecord returns the record of a piece of n bytes, its sums still zero.
func newRecord(n int) record {
	r := make(record, recordLen(n))
	r[0] = recordVersion
	binary.BigEndian.PutUint32(r[2:], uint32(n))
	binary.BigEndian.PutUint32(r[6:], uint32(numSlabs(n)))
	return r
}

// check returns an error unless r is a whole record of a piece of n bytes.
func (r record) check(n int) error {
	if len(r) != recordLen(n) {
		return fmt.Errorf("record of %d bytes, not %d", len(r), recordLen(n))
	}
	if r[0] != recordVersion || r[1] != 0 {
		return fmt.Errorf("record of version %d, flags %#x", r[0], r[1])
	}
	length, slabs := binary.BigEndian.Uint32(r[2:]), binary.BigEndian.Uint32(r[6:])
	if int64(length) != int64(n) || int64(slabs) != int64(numSlabs(n)) {
		return fmt.Errorf("record of %d bytes in %d slabs, not %d in %d", length, slabs, n, numSlabs(n))
	}
	return nil
}

func (r record) sum(slab int) uint32 { return binary.BigEndian.Uint32(r[recordHeader+4*slab:]) }

func (r record) setSum(slab int, sum uint32) {
	binary.BigEndian.PutUint32(r[recordHeader+4*slab:], sum)
}
