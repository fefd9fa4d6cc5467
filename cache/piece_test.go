package cache_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/merkle"
)

func TestVerify(t *testing.T) {
	data := []byte("a piece")
	good := cache.SHA1(sha1.Sum(data))
	p, err := cache.Verify(3, good, cache.NewBuffer(data))
	if err != nil || p.Index() != 3 || p.Len() != len(data) {
		t.Errorf("Verify: %v, %v", p, err)
	}
	for name, sum := range map[string]cache.Sum{"zero": {}, "other": cache.SHA1(sha1.Sum(nil))} {
		if _, err := cache.Verify(3, sum, cache.NewBuffer(data)); !errors.Is(err, cache.ErrHash) {
			t.Errorf("Verify with the %s Sum: %v, want ErrHash", name, err)
		}
	}
}

// The Sum of a v2 piece is the root of its blocks' tree, that of a hybrid's piece
// wants both hashes, and padding is hashed for v1 only.
func TestVerifyV2(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcde"), 40_000)
	var tree merkle.Stack
	tree.Write(data)
	v2 := cache.Root(tree.Root(0, 6), 6)
	v1 := cache.SHA1Padded(sha1.Sum(append(bytes.Clone(data), make([]byte, 100_000)...)), 100_000)
	bad1, bad2 := cache.SHA1(sha1.Sum(data[1:])), cache.Root(tree.Root(0, 6), 7)
	for name, tt := range map[string]struct {
		sum cache.Sum
		ok  bool
	}{
		"v2": {v2, true}, "v1": {v1, true}, "both": {v1.And(v2), true}, "other way round": {v2.And(v1), true},
		"higher tree": {bad2, false}, "without padding": {cache.SHA1(sha1.Sum(data)).And(v2), true},
		"v1 bad": {bad1.And(v2), false}, "v2 bad": {v1.And(bad2), false},
	} {
		if _, err := cache.Verify(0, tt.sum, cache.NewBuffer(data)); (err == nil) != tt.ok {
			t.Errorf("%s: Verify: %v", name, err)
		}
		err := cache.Check(tt.sum, len(data), func(dst []byte, off int) error { copy(dst, data[off:]); return nil })
		if (err == nil) != tt.ok {
			t.Errorf("%s: Check: %v", name, err)
		}
	}
}

// Check says the same as Verify about data longer than its buffer.
func TestCheck(t *testing.T) {
	tor := cachetest.NewTorrent(1, 1<<20+17, 1<<20+17)
	sum := tor.Geometry().Sum(0)
	read := func(dst []byte, off int) error { copy(dst, tor.Data[off:]); return nil }
	if err := cache.Check(sum, len(tor.Data), read); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"short":    cache.Check(sum, len(tor.Data)-1, read),
		"zero sum": cache.Check(cache.Sum{}, len(tor.Data), read),
		"bit flip": cache.Check(sum, len(tor.Data), func(dst []byte, off int) error {
			_ = read(dst, off)
			if off > 0 {
				dst[0] ^= 1
			}
			return nil
		}),
	} {
		if !errors.Is(err, cache.ErrHash) {
			t.Errorf("%s: %v, want ErrHash", name, err)
		}
	}
	failed := errors.New("no")
	if err := cache.Check(sum, 10, func([]byte, int) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("failed read: %v", err)
	}
}

func TestPool(t *testing.T) {
	p := cache.NewPool(100, 1)
	a, b, short := p.Get(100), p.Get(60), p.Get(50)
	if n := cap(short.Bytes()); n >= 100 {
		t.Errorf("a short buffer occupies %d bytes", n)
	}
	first := &a.Bytes()[0]
	a.Retain()
	a.Release()
	if p.InUse() != 3 {
		t.Errorf("InUse = %d, want 3", p.InUse())
	}
	a.Release()
	b.Release()
	short.Release()
	if p.InUse() != 0 {
		t.Errorf("InUse = %d, want 0", p.InUse())
	}
	if c := p.Get(51); &c.Bytes()[0] != first || len(c.Bytes()) != 51 {
		t.Error("the buffer that was given back is not used again")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic at the second Release")
		}
	}()
	a.Release()
}
