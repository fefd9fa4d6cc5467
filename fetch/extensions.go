package fetch

import (
	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/peerconn"
)

// idMetadata is the id under which we want to get messages of ut_metadata (BEP 10).
const idMetadata = 1

// metadataBacklog is how many bytes may wait for a connection before requests for
// metadata are rejected. The upload limit is for blocks.
const metadataBacklog = 1 << 20

// giveMetadata answers a request for metadata. Everybody gets it, of private torrents
// too: who is here knows the info-hash, and got our address from the tracker.
func (p *peer) giveMetadata(c peerconn.Conn, request []byte) {
	if reply := p.metadata.Answer(request, c.State().Queued > metadataBacklog); reply != nil {
		c.SendExtension(metadata.Extension, reply)
	}
}
