package fetch

import (
	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

// selection is the pieces of the files that a fill is for. A nil selection is of all
// files and never complete by itself. Only the torrent's goroutine uses it.
type selection struct {
	pieces []picker.Range // ascending and apart
	at     int            // the range that is looked at
	next   int            // all pieces of it before this one were here
}

// selection makes that of the torrent's Config.
func (t *Torrent) selection() *selection {
	if t.cfg.Select == nil {
		return nil
	}
	s := &selection{}
	for i := range t.lay.Files {
		if first, last := t.lay.FilePieces(i); first <= last && t.cfg.Select(i) {
			s.add(picker.Range{First: first, Last: last})
		}
	}
	if len(s.pieces) > 0 {
		s.next = s.pieces[0].First
	}
	return s
}

// add joins r, which begins no earlier than what is there.
func (s *selection) add(r picker.Range) {
	if n := len(s.pieces); n > 0 && r.First <= s.pieces[n-1].Last+1 {
		s.pieces[n-1].Last = max(s.pieces[n-1].Last, r.Last)
		return
	}
	s.pieces = append(s.pieces, r)
}

// done reports whether every piece was here at some time.
func (s *selection) done() bool { return s != nil && s.at == len(s.pieces) }

// complete looks for pieces that have come, and reports whether s is done.
func (s *selection) complete(has func(piece int) bool) bool {
	if s == nil {
		return false
	}
	for !s.done() && has(s.next) {
		if s.next++; s.next > s.pieces[s.at].Last {
			if s.at++; !s.done() {
				s.next = s.pieces[s.at].First
			}
		}
	}
	return s.done()
}

// checkChosen tells once the files that the fill is for are here.
func (t *Torrent) checkChosen() {
	if t.chosen.done() || !t.chosen.complete(t.store.Has) || t.swarm.Count() == t.lay.NumPieces() {
		return
	}
	t.log.Info("the selected files are complete")
	select {
	case <-t.complete:
	default:
		close(t.complete)
	}
}
