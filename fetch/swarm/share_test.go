package swarm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

// dialled takes what was said and returns whom it dials.
func (r *rig) dialled() (addrs []netip.AddrPort) {
	for _, c := range r.said {
		if d, ok := c.(Dial); ok {
			addrs = append(addrs, d.Addr)
		}
	}
	r.take()
	return addrs
}

// That there are too many connections says nothing of an address: it is dialled again
// soon, and one at a time until one gets through.
func TestDialsWhileThereAreTooManyConnections(t *testing.T) {
	r := newRig(t, 4).fill()
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1), addr(2), addr(3)}}).says("dial")
	r.do(DialFailed{Addr: addr(1), Full: true}).want("claim, needs fill")
	r.do(DialFailed{Addr: addr(2), Full: true}, DialFailed{Addr: addr(3), Full: true}).want()
	var last netip.AddrPort
	for range 10 {
		r.wait(tickEvery)
		dials := r.dialled()
		if len(dials) != 1 {
			t.Fatalf("it dials %v", dials)
		}
		last = dials[0]
		r.do(DialFailed{Addr: last, Full: true}).says("claim")
	}
	last = r.wait(tickEvery).dialled()[0]
	r.do(PeerConnected{Peer: 1, Addr: last, Outgoing: true, Remote: remoteID(1)}).wait(tickEvery)
	if dials := r.dialled(); len(dials) != 2 {
		t.Errorf("with one connected it dials %v", dials)
	}
}

// Who has more than its share gives up the worst peer, one for each claim, and takes no
// more for a while.
func TestShare(t *testing.T) {
	r := crowd(t)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(10), addr(11)}, Source: "test"})
	r.take()
	r.do(Share{Peers: 3}).want()
	r.do(Share{Peers: 2}).says("disconnect")
	if len(r.peers) != 2 {
		t.Fatalf("%d peers are left", len(r.peers))
	}
	r.do(Share{Peers: 2}).want()
	for id := range r.leaving {
		r.do(PeerGone{Peer: id})
	}
	r.wait(shareFor - time.Second).silentOn("dial")
	r.arrive(9, addr(9)).says("disconnect")
	for id := range r.leaving {
		r.do(PeerGone{Peer: id})
	}
	r.wait(2 * time.Second).says("dial")
}

// The worst peers go first. One that gives us something goes last, the one that gives
// least, and only for a torrent that needs it as much.
func TestWhoMakesWay(t *testing.T) {
	fill, read := picker.Demand{Fill: true}, picker.Demand{Readahead: []picker.Range{{First: 0, Last: 3}}}
	for name, tc := range map[string]struct {
		ours  picker.Demand
		other Need
		gives bool // peer 2 too
		want  string
	}{
		"the useless":                 {fill, NeedsNothing, false, "disconnect 2"},
		"of a reader too":             {read, NeedsNothing, false, "disconnect 2"},
		"none for who needs nothing":  {fill, NeedsNothing, true, ""},
		"the slowest for an equal":    {fill, NeedsFill, true, "disconnect 1"},
		"the slowest for a reader":    {fill, NeedsRead, true, "disconnect 1"},
		"none of a reader for a fill": {read, NeedsFill, true, ""},
		"of a reader for a reader":    {read, NeedsRead, true, "disconnect 1"},
		"of who wants nothing":        {picker.Demand{}, NeedsFill, true, "disconnect 1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4).join(1).join(2)
			r.do(Wanted{tc.ours}, BlockReceived{1, req(0, 0)})
			if tc.gives {
				r.do(BlockReceived{2, req(0, 1)}, BlockReceived{2, req(0, 1)})
			}
			r.wait(rechokeEvery).take()
			if r.do(Share{1, tc.other}); tc.want == "" {
				r.want()
			} else {
				r.says(tc.want)
			}
		})
	}
}
