package fetchtest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// fleet is many mounts of one torrent that all fill at once, with one seeder.
type fleet struct {
	mounts int
	total  int64
	seeder Link
	mount  Link
}

// optimum is the least time in which everybody can have everything, whatever the
// protocol: the seeder must send each byte once, each mount must receive all of
// it, and what all receive somebody has sent.
func (f fleet) optimum() time.Duration {
	all, n := float64(f.total), float64(f.mounts)
	s := max(all/f.seeder.Up, n*all/(f.seeder.Up+n*f.mount.Up))
	if f.mount.Down > 0 {
		s = max(s, all/f.mount.Down)
	}
	return time.Duration(s * float64(time.Second))
}

// outcome is what a run of a fleet came to.
type outcome struct {
	optimum, first, last time.Duration // until a mount had everything
	copies               float64       // that the seeder sent
}

func (o outcome) String() string {
	return fmt.Sprintf("optimum %.1f s; first mount %.1f s, last %.1f s = %.2f x the optimum; the seeder sent %.2f copies",
		o.optimum.Seconds(), o.first.Seconds(), o.last.Seconds(), o.slowdown(), o.copies)
}

func (o outcome) slowdown() float64 { return o.last.Seconds() / o.optimum.Seconds() }

// run lets the fleet fill.
func (f fleet) run(seed uint64) (o outcome, err error) {
	w := NewWorld(seed, Torrent{PieceLength: 256 * kib, Total: f.total, Seed: seed})
	full := bitfield.New(w.torrent.NumPieces())
	full.Fill()
	seeder := w.AddClient("seeder", f.seeder, ClientConfig{Fast: true, Have: full})
	addrs := []netip.AddrPort{seeder.addr}
	var mounts []*Client
	for k := range f.mounts {
		c := w.AddClient(fmt.Sprintf("mount%03d", k), f.mount, ClientConfig{Fast: true})
		mounts, addrs = append(mounts, c), append(addrs, c.addr)
	}
	for _, c := range mounts {
		list := append([]netip.AddrPort(nil), addrs...)
		w.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		c.Know(list...) // as a tracker would tell them
		c.Fill(true)
	}
	missing := mounts
	o.optimum = f.optimum()
	err = w.Run(20*o.optimum, func() bool {
		for len(missing) > 0 && missing[0].Complete() {
			if missing = missing[1:]; len(missing) == len(mounts)-1 {
				o.first = w.Now()
			}
		}
		return len(missing) == 0
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s", missing[0].Summary())
	}
	o.last = w.Now()
	o.copies = float64(seeder.swarm.Stats().Uploaded) / float64(f.total)
	return o, err
}

// equal is a fleet of machines that are all connected alike, the seeder among
// them: the hardest case, since it cannot help anybody with speed.
func equal(mounts int, total int64) fleet {
	l := Link{Up: mb, Down: 8 * mb, Delay: 15 * time.Millisecond}
	return fleet{mounts: mounts, total: total, seeder: l, mount: l}
}

func TestFleet(t *testing.T) {
	o, err := equal(30, 32*mib).run(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(o)
	if o.copies > 1.5 || o.slowdown() > 1.5 {
		t.Errorf("%v; want at most 1.5 copies and 1.5 x", o)
	}
}

func BenchmarkFleet(b *testing.B) {
	for b.Loop() {
		o, err := equal(200, 64*mib).run(1)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(o.copies, "copies")
		b.ReportMetric(o.slowdown(), "x-optimum")
		b.ReportMetric(o.last.Seconds(), "last-s")
		b.ReportMetric(o.optimum.Seconds(), "optimum-s")
	}
}
