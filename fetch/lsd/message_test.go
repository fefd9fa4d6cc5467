package lsd

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// hashed is a torrent of its own for each n.
func hashed(n int) (h [20]byte) {
	copy(h[:], fmt.Sprintf("torrent %012d", n))
	return h
}

func TestMessage(t *testing.T) {
	m := message{host: "239.192.152.143:6771", port: 6881, hashes: [][20]byte{hashed(1), hashed(2)}, cookie: "abc"}
	want := "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n" +
		"Infohash: 746f7272656e7420303030303030303030303031\r\nInfohash: 746f7272656e7420303030303030303030303032\r\n" +
		"cookie: abc\r\n\r\n\r\n"
	if got := string(m.append(nil)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, err := parse([]byte(want)); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("parse = %+v, %v", got, err)
	}
}

func TestParse(t *testing.T) {
	const hash = "746f7272656e7420303030303030303030303031"
	for name, c := range map[string]struct {
		in     string
		hashes int // 0: an error
	}{
		"other case":       {"BT-SEARCH * HTTP/1.1\r\nPORT: 1\r\nINFOHASH: " + strings.ToUpper(hash) + "\r\n\r\n", 1},
		"newlines only":    {"BT-SEARCH * HTTP/1.1\nport: 1\ninfohash:" + hash, 1},
		"unknown header":   {"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nX: y\r\nnonsense\r\nInfohash: " + hash + "\r\n\r\n", 1},
		"a bad hash":       {"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: xyz\r\nInfohash: " + hash + "\r\n", 1},
		"a long hash":      {"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: " + hash + "ab\r\n", 0},
		"many":             {"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n" + strings.Repeat("Infohash: "+hash+"\r\n", 1000), maxHashes},
		"another request":  {"M-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: " + hash + "\r\n", 0},
		"no port":          {"BT-SEARCH * HTTP/1.1\r\nInfohash: " + hash + "\r\n", 0},
		"port 0":           {"BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: " + hash + "\r\n", 0},
		"port too large":   {"BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: " + hash + "\r\n", 0},
		"no torrent":       {"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n", 0},
		"nothing":          {"", 0},
		"one line":         {requestLine, 0},
		"not even a start": {"\x00\xff\n\n\n::\n", 0},
	} {
		m, err := parse([]byte(c.in))
		if (err == nil) != (c.hashes > 0) || len(m.hashes) != c.hashes {
			t.Errorf("%s: %d torrents, %v", name, len(m.hashes), err)
		}
	}
	long := requestLine + "\nport: 1\ninfohash: " + hash + "\ncookie: " + strings.Repeat("x", 1000)
	if m, err := parse([]byte(long)); err != nil || len(m.cookie) != maxCookie {
		t.Errorf("cookie of %d bytes, %v", len(m.cookie), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: 746f7272656e7420303030303030303030303031\r\ncookie: a\r\n\r\n\r\n"))
	f.Add([]byte("BT-SEARCH * HTTP/1.1\nport:1\ninfohash:"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if m.port == 0 || len(m.hashes) == 0 || len(m.hashes) > maxHashes || len(m.cookie) > maxCookie {
			t.Errorf("%+v", m)
		}
		if again, err := parse(m.append(nil)); err != nil || again.port != m.port || !reflect.DeepEqual(again.hashes, m.hashes) {
			t.Errorf("%+v comes back as %+v, %v", m, again, err)
		}
	})
}
