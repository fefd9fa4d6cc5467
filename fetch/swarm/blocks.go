package swarm

import "github.com/qqbtfs/qqbtfs/fetch/picker"

// Here reports whether a block of a piece that is not verified yet lies in its
// buffer, once the commands before it are carried out.
func (s *Swarm) Here(b picker.Block) bool { return s.pick.Here(b) }

// Holders returns the peers that have piece i and deliver what they are asked for,
// those that do not choke us in front.
func (s *Swarm) Holders(i int) []PeerID {
	var open, choking []PeerID
	for _, id := range s.order {
		switch p := s.peers[id]; {
		case p.snubbed || !s.pick.HasPiece(id, i):
		case p.chokesUs:
			choking = append(choking, id)
		default:
			open = append(open, id)
		}
	}
	return append(open, choking...)
}
