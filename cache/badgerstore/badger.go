package badgerstore

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Badger's sizes in bytes. Small ones: what is open is memory, what is sparse is
// a danger (see ahead), and the last value-log file is read whole at Open.
const (
	memTableSize   = 8 << 20  // less under a quota, see sizes
	valueLogSize   = 64 << 20 // less under a quota, see sizes
	valueThreshold = 4 << 10  // shorter values live in the LSM tree: the records
	commitSize     = 8 << 20  // of slabs in one transaction, less under a quota
)

// latest is the timestamp to read at: the newest version of everything. The
// database is in managed mode because its own timestamps make a reader wait for
// the commit that runs.
const latest = math.MaxUint64

// openBadger opens the database in dir. A panic in Badger comes back as an error.
func openBadger(dir string, readOnly bool, z sizes, log *slog.Logger) (db *badger.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("badger panicked: %v", r)
		}
	}()
	own := &badgerLog{log: log}
	opt := badger.DefaultOptions(dir).
		WithLogger(own).
		WithReadOnly(readOnly).
		WithMemTableSize(memTableFor(dir, z)).
		WithNumMemtables(2).
		WithNumLevelZeroTables(3).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithValueLogFileSize(z.valueLog).
		WithValueThreshold(valueThreshold).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(false).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithBypassLockGuard(true)
	if db, err = badger.OpenManaged(opt); err == nil {
		own.db.Store(db)
	}
	return db, err
}

// memTableFor returns the size for the memtables of the database in dir. What a crash
// left of larger ones, of a time without a quota, must fit in: Badger ends the process
// if it does not. The length of a log tells, unless it has been cut since.
func memTableFor(dir string, z sizes) int64 {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, name := range logs {
		if info, err := os.Stat(name); err != nil || info.Size() != 2*z.memTable {
			return memTableSize
		}
	}
	return z.memTable
}

// badgerLog hands Badger's log on at level debug: what matters of it comes back
// as an error too.
type badgerLog struct {
	log *slog.Logger
	db  atomic.Pointer[badger.DB] // whose log it is; nil: not open yet
}

func (l *badgerLog) line(level, format string, args ...any) {
	l.log.Debug("badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)), "badger_level", level)
}

func (l *badgerLog) Errorf(format string, args ...any) {
	l.line("error", format, args...)
	if file, ok := leaks(format, args); ok && l.db.Load() != nil {
		unlockFile(l.db.Load(), file)
	}
}

func (l *badgerLog) Warningf(format string, args ...any) { l.line("warning", format, args...) }
func (l *badgerLog) Infof(format string, args ...any)    { l.line("info", format, args...) }

// Debugf drops the lines that Badger writes for every commit.
func (l *badgerLog) Debugf(string, ...any) {}
