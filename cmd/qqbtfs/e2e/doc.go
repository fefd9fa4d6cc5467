// Package e2e tests the program from the outside: real processes, real mounts and
// clients that we did not write, all on loopback.
//
// Every test lives in a sandbox: a directory with a home of its own for the program,
// whose end takes down all that was started or mounted there, and fails the test if
// something is left. Addresses and ports are chosen when they are needed, so tests
// run beside each other and beside those of other packages.
//
// The program is the one that the environment variable QQBTFS_BIN names, or else it
// is built first. A test that needs something that is not there (FUSE, a client, the
// torrents in QQBTFS_TESTDATA) is skipped and says so.
//
// What can be tested in one process is tested beside the code, not here.
package e2e
