package proto

import (
	"bytes"
	"math/bits"
	"slices"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// maxHashRequests is how many requests for hashes may be out, in each direction.
const maxHashRequests = 64

// hashQueries are the requests for hashes that wait for an answer (BEP 52).
type hashQueries struct{ ours, theirs []wire.HashRequest }

// takeQuery removes r from list and reports whether it was there.
func takeQuery(list *[]wire.HashRequest, r wire.HashRequest) bool {
	i := slices.Index(*list, r)
	if i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	return i >= 0
}

// sendHashRequest asks for hashes. What cannot be asked is rejected at once.
func (c *Conn) sendHashRequest(r wire.HashRequest) {
	switch {
	case slices.Contains(c.hashes.ours, r):
	case !c.v2 || len(c.hashes.ours) >= maxHashRequests:
		c.emit(HashesRejected{r})
	default:
		c.hashes.ours = append(c.hashes.ours, r)
		c.queue(r)
	}
}

// sendHashes answers a request of the peer, once.
func (c *Conn) sendHashes(r wire.HashRequest, m wire.Message) {
	if takeQuery(&c.hashes.theirs, r) {
		c.queue(m)
	}
}

// dispatchHashes takes the messages of BEP 52. They belong to connections of v2
// alone.
func (c *Conn) dispatchHashes(m wire.Message) error {
	if !c.v2 {
		return broken("%v without BitTorrent v2", m)
	}
	switch m := m.(type) {
	case wire.HashRequest:
		c.receiveHashRequest(m)
	case wire.Hashes:
		return c.receiveHashes(m)
	case wire.HashReject:
		if takeQuery(&c.hashes.ours, wire.HashRequest(m)) {
			c.payBack()
			c.emit(HashesRejected{wire.HashRequest(m)})
		}
	}
	return nil
}

// receiveHashRequest takes a request for hashes, "regardless of [the] choke state".
func (c *Conn) receiveHashRequest(r wire.HashRequest) {
	switch {
	case slices.Contains(c.hashes.theirs, r):
	case r.Length == 0 || r.Length > wire.MaxHashes || len(c.hashes.theirs) >= maxHashRequests:
		c.queue(wire.HashReject(r))
	default:
		c.payBack()
		c.hashes.theirs = append(c.hashes.theirs, r)
		c.emit(PeerHashRequest{r})
	}
}

// receiveHashes takes an answer. (BEP 52: "This message MUST correlate with a 'hash
// request' message", "the first log2(length)-1 proof layers are omitted")
func (c *Conn) receiveHashes(m wire.Hashes) error {
	if !takeQuery(&c.hashes.ours, m.HashRequest) {
		return broken("%v that were not asked for", m)
	}
	uncles := max(0, int(m.Proof)-bits.Len32(m.Length-1)+1)
	if want := 32 * (int(m.Length) + uncles); len(m.Hashes) != want {
		return broken("%v, want %d", m, want/32)
	}
	c.payBack()
	c.emit(HashesReceived{m.HashRequest, bytes.Clone(m.Hashes)})
	return nil
}
