package main

import (
	"os"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

func TestSeedingIsKept(t *testing.T) {
	dir := t.TempDir()
	keeps := func(uploaded int64, d time.Duration) {
		t.Helper()
		if got, err := readSeeding(dir); err != nil || got != (swarm.Seeding{Uploaded: uploaded, Time: d}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	add := func(uploaded int64, d time.Duration) {
		t.Helper()
		if err := addSeeding(dir, swarm.Seeding{Uploaded: uploaded, Time: d}); err != nil {
			t.Error(err)
		}
	}
	keeps(0, 0)
	add(1<<40, time.Hour)
	add(1, 2*time.Second)
	keeps(1<<40+1, time.Hour+2*time.Second)

	for _, damaged := range []string{"", "{", `{"uploaded": -1}`} {
		if err := os.WriteFile(seedingFile(dir), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readSeeding(dir); err == nil || got != (swarm.Seeding{}) {
			t.Errorf("%q is %+v", damaged, got)
		}
	}
	add(3, time.Second)
	keeps(3, time.Second)
}
