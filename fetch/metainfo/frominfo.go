package metainfo

import (
	"bytes"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// FromInfo makes a MetaInfo of an info dictionary that came by itself, as it does from
// peers (BEP 9), and of trackers, each tried beside the others, and web seeds. It keeps
// raw. Piece layers of v2 are missing. URLs that Parse would leave out are left out; the errors are those of ParseInfo.
func FromInfo(raw []byte, trackers, webSeeds []string) (*MetaInfo, error) {
	m := &MetaInfo{InfoRaw: raw, Trackers: Trackers(trackers), URLList: WebSeeds(webSeeds)}
	var err error
	if m.Info, err = ParseInfo(raw); err != nil {
		return nil, err
	}
	return m, m.readLayers(bencode.Value{})
}

// WebSeeds returns those of the URLs that Parse would keep.
func WebSeeds(urls []string) []string {
	f := urlFilter{schemes: []string{"http", "https"}}
	return f.filter(urls)
}

// Trackers returns those of the URLs that Parse would keep, each in a tier of its own.
func Trackers(urls []string) [][]string {
	tr := make([][]string, len(urls))
	for i, u := range urls {
		tr[i] = []string{u}
	}
	return tiers(tr)
}

// Torrent returns a .torrent file that Parse makes the same of, except for comment and
// nodes.
func (m *MetaInfo) Torrent() []byte {
	var b bytes.Buffer
	put := func(key string, v any) {
		encoded, err := bencode.Marshal(v)
		if err != nil {
			panic("BUG: metainfo: " + err.Error())
		}
		k, _ := bencode.Marshal(key)
		b.Write(k)
		b.Write(encoded)
	}
	b.WriteByte('d')
	if len(m.Trackers) > 0 {
		put("announce", m.Trackers[0][0])
		put("announce-list", m.Trackers)
	}
	if len(m.HTTPSeeds) > 0 {
		put("httpseeds", m.HTTPSeeds)
	}
	b.WriteString("4:info")
	b.Write(m.InfoRaw)
	if m.Info.HasV2 {
		put(layersName, m.rawLayers())
	}
	if len(m.URLList) > 0 {
		put("url-list", m.URLList)
	}
	b.WriteByte('e')
	return b.Bytes()
}
