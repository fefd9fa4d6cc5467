package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

// What a torrent gives to its swarm is kept in its directory in the cache directory, for
// --seed-ratio and --seed-time count it over all runs, as other clients do.

// keepSeedingEvery is how often it is written. A process that is killed loses as much.
const keepSeedingEvery = 5 * time.Minute

// seedingRecord is the content of the file.
type seedingRecord struct {
	Uploaded int64 `json:"uploaded"` // bytes
	Seconds  int64 `json:"seconds"`
}

func seedingFile(dir string) string { return filepath.Join(dir, "seeding") }

// readSeeding returns what is kept in a torrent's directory, which need not exist.
func readSeeding(dir string) (s swarm.Seeding, err error) {
	b, err := os.ReadFile(seedingFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var r seedingRecord
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && (r.Uploaded < 0 || r.Seconds < 0) {
		err = errors.New("a number is negative")
	}
	if err != nil {
		return s, fmt.Errorf("what was uploaded before is not known: %w", err)
	}
	return swarm.Seeding{Uploaded: r.Uploaded, Time: time.Duration(r.Seconds) * time.Second}, nil
}

// recallSeeding returns what earlier runs have given.
func (m *member) recallSeeding(a *app) swarm.Seeding {
	var err error
	if m.kept, err = readSeeding(m.dir); err != nil {
		a.log.Warn("the seeding begins anew", "torrent", m.meta.Info.Name, "err", err)
	}
	return m.kept
}

// keepSeeding keeps what has been given since the last time.
func (m *member) keepSeeding(a *app) {
	now := m.t.Seeding()
	now.Time = now.Time.Truncate(time.Second)
	if now == m.kept {
		return
	}
	err := describeCache(m.dir, m.loaded)
	if err == nil {
		err = addSeeding(m.dir, swarm.Seeding{Uploaded: now.Uploaded - m.kept.Uploaded, Time: now.Time - m.kept.Time})
	}
	if err != nil {
		a.log.Info("what was uploaded is not kept", "torrent", m.meta.Info.Name, "err", bare(err))
		return
	}
	m.kept = now
}

// addSeeding adds to what is kept in a torrent's directory. It is a sum, for another
// process may seed the same torrent: a mount what a seed serves.
func addSeeding(dir string, more swarm.Seeding) error {
	all, _ := readSeeding(dir)
	all.Uploaded += more.Uploaded
	all.Time += more.Time
	b, err := json.Marshal(seedingRecord{all.Uploaded, int64(all.Time / time.Second)})
	if err != nil {
		return err
	}
	return writeFile(seedingFile(dir), append(b, '\n'), 0o600, unsynced)
}
