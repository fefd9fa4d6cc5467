package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
)

// sweep puts away files in Badger's directory that a crash, a power loss or a bad
// sector has left in a state which Badger answers with an exit of the process
// (log.Fatal, a panic on a goroutine of its own) or by refusing the whole
// database. What it drops turns up as misses. It returns what the keys that are left
// point to.
func sweep(dir string, log *slog.Logger) (live pointed, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, bad := filepath.Join(dir, e.Name()), false
		switch filepath.Ext(name) {
		case ".vlog", ".mem":
			bad = !logStarts(name)
		default:
			bad = e.Name() == "KEYREGISTRY" && !registryOK(name)
		}
		if !bad {
			continue
		}
		if info, ierr := e.Info(); ierr != nil || info.Size() > 0 { // empty: see prepare
			log.Warn("badgerstore: damaged file is removed", "file", name)
		}
		err = errors.Join(err, os.Remove(name))
	}
	live, terr := sweepTables(dir, log)
	live.addLogs(dir)
	return live, errors.Join(err, terr)
}

// logStarts reports whether a log file has its header: a key id, which is zero
// without encryption, and 12 random bytes.
func logStarts(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return true // Badger will say so
	}
	defer f.Close()
	var header [20]byte
	n, _ := f.ReadAt(header[:], 0)
	return n == len(header) && binary.BigEndian.Uint64(header[:]) == 0
}

// registryOK checks the key registry of a database without encryption: 16 random
// bytes and a greeting.
func registryOK(name string) bool {
	b, err := os.ReadFile(name)
	return err != nil || len(b) >= 28 && string(b[16:28]) == "Hello Badger"
}

// sweepTables takes missing and damaged tables out of the manifest, and returns what the
// keys of the others point to. Without a manifest nobody knows which tables count.
func sweepTables(dir string, log *slog.Logger) (live pointed, err error) {
	live = make(pointed)
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if logs, _ := filepath.Glob(filepath.Join(dir, "*.vlog")); len(logs) > 0 {
			return live, errors.New("value log without a manifest")
		}
		return live, nil
	}
	if err != nil {
		return live, err
	}
	defer f.Close()
	manifest, end, err := badger.ReplayManifestFile(f, 0, badger.Options{Logger: &badgerLog{log: log}})
	if err != nil {
		return live, fmt.Errorf("manifest: %w", err)
	}
	var drop []uint64
	for id := range manifest.Tables {
		if err := checkTable(id, table.NewFilename(id, dir), live); err != nil {
			log.Warn("badgerstore: damaged table is dropped", "table", id, "err", err)
			drop = append(drop, id)
		}
	}
	if len(drop) == 0 {
		return live, nil
	}
	return live, errors.Join(f.Truncate(end), appendDeletions(f, end, drop), f.Sync())
}

// appendDeletions writes at off of the manifest that tables are gone: a
// ManifestChangeSet of badgerpb4.proto behind its length and CRC-32C.
func appendDeletions(f io.WriterAt, off int64, tables []uint64) error {
	var set []byte
	for _, id := range tables {
		change := binary.AppendUvarint([]byte{1 << 3}, id)            // id = 1, a varint
		change = append(change, 2<<3, byte(pb.ManifestChange_DELETE)) // op = 2, a varint
		set = append(set, 1<<3|2, byte(len(change)))                  // changes = 1, bytes
		set = append(set, change...)
	}
	rec := binary.BigEndian.AppendUint32(nil, uint32(len(set)))
	rec = binary.BigEndian.AppendUint32(rec, slabSum(set))
	_, err := f.WriteAt(append(rec, set...), off)
	return err
}

// checkTable reads a table whole, checks all its sums and counts its keys. The lengths in
// its footer come first, as Badger follows them without a look.
func checkTable(id uint64, name string, live pointed) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %.200v", r)
		}
	}()
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := checkFooter(data); err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{BlockSize: 4 << 10, ChkMode: options.OnBlockRead})
	if err != nil {
		return err
	}
	if err := t.VerifyChecksum(); err != nil {
		return err
	}
	it := t.NewIterator(table.NOCACHE)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		v := it.Value()
		live.add(v.Meta, v.Value)
	}
	return nil
}

// checkFooter checks the end of a table: index, its length, checksum, its length.
func checkFooter(b []byte) error {
	rest := int64(len(b))
	for _, part := range []string{"checksum", "index"} {
		if rest < 4 {
			return fmt.Errorf("table of %d bytes", len(b))
		}
		rest -= 4
		n := int64(binary.BigEndian.Uint32(b[rest:]))
		if n == 0 || n > rest {
			return fmt.Errorf("%s of %d bytes in a table of %d", part, n, len(b))
		}
		rest -= n
	}
	return nil
}
