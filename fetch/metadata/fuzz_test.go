package metadata

import (
	"net/netip"
	"testing"
	"time"
)

// Whatever comes in, in whatever order, the books stay right and nothing but the
// metadata comes out.
func FuzzFetch(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 2, 1, 3, 1, 3, 1, 6, 5})
	f.Add([]byte{0, 1, 0, 2, 1, 1, 1, 2, 2, 1, 2, 2, 3, 1, 4, 2, 3, 2, 5, 1, 6, 99})
	f.Add([]byte{0, 3, 1, 3, 2, 3, 7, 3, 7, 3, 8, 3, 6, 200, 3, 3})
	f.Fuzz(func(t *testing.T, program []byte) {
		w := newWorld(t, 3*PieceSize-1)
		var owed []Send
		step := func(ev Event) {
			w.f.Step(w.now, ev)
			w.check()
			for _, c := range w.f.Ready() {
				switch c := c.(type) {
				case Send:
					owed = append(owed, c)
				case Found:
					w.got = c.Info
				}
			}
		}
		server := NewServer(w.info)
		for ; len(program) >= 2; program = program[2:] {
			id, addr := PeerID(program[1]), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, program[1]}), 1)
			switch program[0] % 9 {
			case 0:
				step(PeersFound{Addrs: []netip.AddrPort{addr}})
			case 1:
				if w.f.peer(id) == nil && w.f.dialling > 0 {
					step(PeerConnected{Peer: id, Addr: addr, Outgoing: true})
				}
			case 2:
				step(PeerOffers{Peer: id, Size: int64(len(w.info)) + int64(program[1]%3)})
			case 3, 4, 7:
				if len(owed) > 0 {
					c := owed[0]
					owed = owed[1:]
					b := server.Answer(c.Payload, program[0]%9 == 4)
					if program[0]%9 == 7 {
						b[len(b)-1] ^= 1
					}
					step(Received{Peer: c.Peer, Payload: b})
				}
			case 5:
				step(PeerGone{Peer: id})
			case 6:
				w.now = w.now.Add(time.Duration(program[1]) * 100 * time.Millisecond)
				step(Tick{})
			case 8:
				step(Received{Peer: id, Payload: program})
			}
		}
		if w.got != nil && string(w.got) != string(w.info) {
			t.Fatal("other metadata than wanted")
		}
		if d := w.f.Deadline(); w.got == nil && !d.After(w.f.now) {
			t.Fatalf("the deadline %v is not after %v", d, w.f.now)
		}
	})
}
