package peerconn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/mse"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

var encTorrent = peertest.NewTorrent(1, 300_000, 64<<10)

func keys() [][20]byte { return [][20]byte{{1}, encTorrent.InfoHash, {2}} }

// download gets all of encTorrent from addr and says whether that was encrypted.
func download(t *testing.T, n *peerconn.Net, addr netip.AddrPort) bool {
	t.Helper()
	g := peertest.NewGetter(encTorrent, 16)
	c := n.Dial(t.Context(), addr, encTorrent.Config("get"), g)
	select {
	case <-g.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("no download")
	}
	if !bytes.Equal(g.Data(), encTorrent.Data) {
		t.Error("wrong bytes")
	}
	encrypted := c.Stats().Encrypted
	c.Close(nil)
	return encrypted
}

// "falls back to plaintext on a second connection in prefer", and remembers it. On the
// own network it is the other way round.
func TestPrefer(t *testing.T) {
	peertest.NoLeaks(t)
	plain := peertest.Start(t, encTorrent, peertest.Seeder{})
	rc4 := peertest.Start(t, encTorrent, peertest.Encrypted{Script: peertest.Seeder{}})
	header := peertest.Start(t, encTorrent, peertest.Encrypted{Script: peertest.Seeder{}, Method: mse.Plaintext})
	n := open(t, peerconn.Options{})
	for range 2 {
		if download(t, n, plain.Addr()) {
			t.Error("encrypted with a plain peer")
		}
		if !download(t, n, rc4.Addr()) {
			t.Error("not encrypted with a peer that wants it")
		}
		if download(t, n, header.Addr()) {
			t.Error("encrypted with a peer that chose not to")
		}
	}
	for name, test := range map[string]struct{ got, want int }{
		"plain": {plain.Accepted(), 2}, "RC4": {rc4.Accepted(), 3}, "obfuscated": {header.Accepted(), 3},
	} {
		if test.got != test.want {
			t.Errorf("%d connections to the %s peer for two downloads, want %d", test.got, name, test.want)
		}
	}
}

// A peer of the internet, which has an address of its own here.
func TestPreferInternet(t *testing.T) {
	if !peertest.InNamespace(t) {
		return
	}
	peertest.IP(t, "link set lo up")
	peertest.IP(t, "addr add 203.0.113.1/32 dev lo")
	serve := func(opt peerconn.Options) netip.AddrPort {
		opt.Listen, opt.SecretKeys = []string{"203.0.113.1:0"}, keys
		opt.Accept = peertest.Accept(encTorrent, "give", peertest.NewGiver(encTorrent))
		return open(t, opt).ListenAddrs()[0]
	}
	modes := []peerconn.Encryption{peerconn.EncryptPrefer, peerconn.EncryptRequire, peerconn.EncryptOff}
	for _, theirs := range modes {
		addr := serve(peerconn.Options{Encryption: theirs})
		for _, ours := range modes {
			n := open(t, peerconn.Options{Encryption: ours})
			if ours+theirs == peerconn.EncryptRequire+peerconn.EncryptOff && ours != theirs {
				continue // see TestRequire
			}
			want := ours != peerconn.EncryptOff && theirs != peerconn.EncryptOff
			for range 2 {
				if got := download(t, n, addr); got != want {
					t.Errorf("we %v, they %v: encrypted %v", ours, theirs, got)
				}
			}
		}
	}
}

func TestRequire(t *testing.T) {
	peertest.NoLeaks(t)
	heard := make(chan []byte, 1)
	recorder := peertest.Start(t, encTorrent, peertest.Recorder{Heard: heard})
	n := open(t, peerconn.Options{
		Encryption: peerconn.EncryptRequire, HandshakeTimeout: 100 * time.Millisecond,
		Listen: []string{"127.0.0.1:0"}, SecretKeys: keys,
		Accept: peertest.Accept(encTorrent, "give", peertest.NewGiver(encTorrent)),
	})
	e := make(ends, 1)
	n.Dial(t.Context(), recorder.Addr(), encTorrent.Config("dial"), e)
	if ne := (*peerconn.NetError)(nil); !errors.As(<-e, &ne) || ne.Op != "negotiate" {
		t.Errorf("ended with %v", ne)
	}
	b := <-heard
	if len(b) < mse.KeyLen || bytes.Contains(b, []byte("BitTorrent")) || bytes.Contains(b, encTorrent.InfoHash[:]) {
		t.Errorf("said %q", b)
	}
	if recorder.Accepted() != 1 {
		t.Errorf("%d connections: a second way was tried", recorder.Accepted())
	}
	leecher := peertest.Start(t, encTorrent, peertest.Leecher{})
	leecher.Connect(n.ListenAddrs()[0])
	if err := <-leecher.Ended(); err == nil {
		t.Error("served a plain connection")
	}
	header := peertest.Start(t, encTorrent, peertest.Encrypted{Script: peertest.Leecher{}, Method: mse.Plaintext})
	header.Connect(n.ListenAddrs()[0])
	if err := <-header.Ended(); err == nil {
		t.Error("served a connection that goes on plainly")
	}
}

// Whoever does not know one of our info-hashes gets no more of us than a random key, and
// who has no end is ended.
func TestHostileNegotiations(t *testing.T) {
	peertest.NoLeaks(t)
	n := open(t, peerconn.Options{
		Encryption: peerconn.EncryptRequire, HandshakeTimeout: time.Second,
		Listen: []string{"127.0.0.1:0"}, SecretKeys: keys,
		Accept: peertest.Accept(encTorrent, "give", peertest.NewGiver(encTorrent)),
	})
	off := open(t, peerconn.Options{Encryption: peerconn.EncryptOff, Listen: []string{"127.0.0.1:0"}, SecretKeys: keys,
		Accept: peertest.Accept(encTorrent, "give", peertest.NewGiver(encTorrent))})
	for name, script := range map[string]peertest.Script{
		"bad key": peertest.BadKey{}, "padder": peertest.Padder{}, "wrong constant": peertest.WrongConstant{}, "garbage": peertest.Garbage{},
	} {
		e := make(ends, 1)
		n.Dial(t.Context(), peertest.Start(t, encTorrent, script).Addr(), encTorrent.Config("dial"), e)
		if ne := (*peerconn.NetError)(nil); !errors.As(<-e, &ne) || ne.Op != "negotiate" {
			t.Errorf("%s, dialled: ended with %v", name, ne)
		}
		peer := peertest.Start(t, encTorrent, script)
		peer.Connect(n.ListenAddrs()[0])
		<-peer.Ended()
	}
	for name, test := range map[string]struct {
		n   *peerconn.Net
		tor *peertest.Torrent
	}{"another torrent": {n, peertest.NewTorrent(2, 1, 1)}, "off": {off, encTorrent}} {
		leecher := peertest.Start(t, test.tor, peertest.Encrypted{Script: peertest.Leecher{}})
		leecher.Connect(test.n.ListenAddrs()[0])
		if err := <-leecher.Ended(); err == nil {
			t.Errorf("%s: was served", name)
		}
	}
}

// An encrypted connection about one torrent must not turn to another.
func TestOtherHandshake(t *testing.T) {
	peertest.NoLeaks(t)
	n := open(t, peerconn.Options{
		Listen: []string{"127.0.0.1:0"}, SecretKeys: func() [][20]byte { return append(keys(), peertest.NewTorrent(2, 1, 1).InfoHash) },
		Accept: func(h wire.Handshake, _ netip.AddrPort) (proto.Config, peerconn.Handler, error) {
			t.Errorf("asked about %x", h.InfoHash)
			return proto.Config{}, nil, io.EOF
		},
	})
	peer := peertest.Start(t, encTorrent, peertest.Encrypted{Script: peertest.WrongInfoHash{}})
	peer.Connect(n.ListenAddrs()[0])
	<-peer.Ended()
}

// In plain text nothing follows the handshake until the peer has answered it, whatever
// there is to say: some take what has come for the handshake, and nothing else.
func TestPlainGreeting(t *testing.T) {
	peertest.NoLeaks(t)
	for _, e := range []peerconn.Encryption{peerconn.EncryptPrefer, peerconn.EncryptOff} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := encTorrent.Config("dial")
		cfg.Opening = []wire.Message{wire.Interested{}}
		ended := make(ends, 1)
		open(t, peerconn.Options{Encryption: e}).Dial(t.Context(), l.Addr().(*net.TCPAddr).AddrPort(), cfg, ended)
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2*wire.HandshakeLen)
		if n, err := peer.Read(buf); err != nil || n != wire.HandshakeLen {
			t.Errorf("%v: %d bytes came before the answer, %v", e, n, err)
		}
		answer := encTorrent.Config("listen").Handshake
		if _, err := peer.Write(answer.Append(nil)); err != nil {
			t.Fatal(err)
		}
		interested := wire.Interested{}.Append(nil)
		if _, err := io.ReadFull(peer, buf[:len(interested)]); err != nil || !bytes.Equal(buf[:len(interested)], interested) {
			t.Errorf("%v: behind the answer came %x, %v", e, buf[:len(interested)], err)
		}
		peer.Close()
		l.Close()
		<-ended
	}
}

// The two greetings come from one socket each: a peer that closes is dialled again, one
// that is not there is not.
func TestNobodyThere(t *testing.T) {
	peertest.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan int)
	go func() {
		n := 0
		for {
			c, err := l.Accept()
			if err != nil {
				accepted <- n
				return
			}
			n++
			c.Close()
		}
	}()
	n := open(t, peerconn.Options{})
	e := make(ends, 1)
	n.Dial(t.Context(), l.Addr().(*net.TCPAddr).AddrPort(), encTorrent.Config("dial"), e)
	if err := <-e; err == nil {
		t.Error("no error")
	}
	l.Close()
	if got := <-accepted; got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
	n.Dial(t.Context(), l.Addr().(*net.TCPAddr).AddrPort(), encTorrent.Config("dial"), e)
	if ne := (*peerconn.NetError)(nil); !errors.As(<-e, &ne) || ne.Op != "dial" {
		t.Errorf("ended with %v", ne)
	}
}
