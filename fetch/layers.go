package fetch

import (
	"errors"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// layersTimeout is how long peers have for the piece layers, and layerPatience how
	// long one of them for a part.
	layersTimeout = 30 * time.Second
	layerPatience = 2 * time.Second
	// layersAtOnce is how many parts are asked for at a time.
	layersAtOnce = 16
)

// errLayers is what a link to a v2 torrent comes to whose piece layers nobody has: they
// are not in the info dictionary.
var errLayers = errors.New("no peer gave the piece layers of this BitTorrent v2 torrent: give the .torrent file")

// layers fetches the piece layers that a v2 torrent lacks, by requests for hashes that
// are proven up to the roots of the files (BEP 52). It belongs to the goroutine of a
// Pending.
type layers struct {
	p     *Pending
	meta  *metainfo.MetaInfo
	until time.Time
	parts map[wire.HashRequest]*layerPart
	files map[int][]merkle.Hash // what has come, with padding
	open  map[int]int           // parts to come, by file
}

// layerPart is a part of the layer of one file, or of several with the same content.
type layerPart struct {
	files []int
	first int
	until time.Time // of the peer that is asked; zero: nobody is
	last  metadata.PeerID
}

func newLayers(p *Pending, m *metainfo.MetaInfo, now time.Time) *layers {
	l := &layers{
		p: p, meta: m, until: now.Add(layersTimeout),
		parts: map[wire.HashRequest]*layerPart{}, files: map[int][]merkle.Hash{}, open: map[int]int{},
	}
	for _, file := range m.MissingLayers() {
		f := m.Info.Files[file]
		height, all := m.Height(file), m.Layers(file)
		width := 1 << (all - height)
		length := min(width, wire.MaxHashes)
		pieces := int((f.Length-1)/m.Info.PieceLength) + 1
		l.files[file] = make([]merkle.Hash, pieces)
		for first := 0; first < pieces; first += length {
			r := wire.HashRequest{
				Root: f.Root, Base: uint32(height), Index: uint32(first), Length: uint32(length),
				Proof: uint32(all - height - 1),
			}
			if l.parts[r] == nil {
				l.parts[r] = &layerPart{first: first}
			}
			l.parts[r].files = append(l.parts[r].files, file)
			l.open[file]++
		}
	}
	return l
}

// ask asks peers for what is missing, in turn, and gives up after a time.
func (l *layers) ask(now time.Time) {
	if now.After(l.until) {
		l.p.finish(nil, errLayers)
		return
	}
	sources := l.p.speakV2()
	n := 0
	for r, part := range l.parts {
		if n++; n > layersAtOnce || len(sources) == 0 {
			return
		}
		if now.Before(part.until) {
			continue
		}
		for id, conn := range sources {
			if id == part.last && len(sources) > 1 {
				continue
			}
			part.last, part.until = id, now.Add(layerPatience)
			conn.Send(r)
			break
		}
	}
}

// received takes an answer in, if it leads to the root of its file.
func (l *layers) received(id metadata.PeerID, r wire.HashRequest, raw []byte) {
	part := l.parts[r]
	if part == nil {
		return
	}
	hashes := hashesOf(raw)
	rng := merkle.Range{Base: int(r.Base), Index: int(r.Index), Length: int(r.Length)}
	if merkle.Climb(rng, hashes[:r.Length], hashes[r.Length:]) != merkle.Hash(r.Root) {
		if conn := l.p.conn(id); conn != nil {
			conn.Close(errors.New("sent wrong hashes"))
		}
		l.rejected(r)
		return
	}
	delete(l.parts, r)
	for _, file := range part.files {
		copy(l.files[file][part.first:], hashes[:r.Length])
		if l.open[file]--; l.open[file] == 0 {
			if err := l.meta.SetLayer(file, l.files[file]); err != nil {
				l.p.finish(nil, err)
				return
			}
		}
	}
	if len(l.parts) == 0 {
		l.p.finish(l.meta, nil)
		return
	}
	l.ask(time.Now())
}

// rejected lets another peer be asked at the next turn.
func (l *layers) rejected(r wire.HashRequest) {
	if part := l.parts[r]; part != nil {
		part.until = time.Time{}
	}
}

// speakV2 returns the connections that hashes can be asked of.
func (p *Pending) speakV2() map[metadata.PeerID]peerconn.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[metadata.PeerID]peerconn.Conn{}
	for id, c := range p.conns {
		if c.v2 {
			out[id] = c.conn
		}
	}
	return out
}
