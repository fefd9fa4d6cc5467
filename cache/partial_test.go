package cache_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/merkle"
)

func TestPartialGivesOnlyWhatIsVerified(t *testing.T) {
	pool := cache.NewPool(3*merkle.BlockSize, 1)
	buf := pool.Get(2*merkle.BlockSize + 100)
	data := buf.Bytes()
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	p := cache.NewPartial(buf)
	miss := func(n, off int) {
		t.Helper()
		dst := make([]byte, n)
		if err := p.ReadAt(dst, off); !errors.Is(err, cache.ErrMiss) || !bytes.Equal(dst, make([]byte, n)) {
			t.Errorf("%d bytes at %d: %v, want a miss and nothing in dst", n, off, err)
		}
	}
	hit := func(n, off int) {
		t.Helper()
		dst := make([]byte, n)
		if err := p.ReadAt(dst, off); err != nil || !bytes.Equal(dst, data[off:off+n]) {
			t.Errorf("%d bytes at %d: %v", n, off, err)
		}
	}
	leaf := func(b int) merkle.Hash {
		return merkle.Leaf(data[b*merkle.BlockSize:][:min(merkle.BlockSize, len(data)-b*merkle.BlockSize)])
	}

	miss(1, 0)
	if err := p.Verify(1, leaf(0)); !errors.Is(err, cache.ErrHash) {
		t.Errorf("Verify against another leaf: %v", err)
	}
	miss(1, merkle.BlockSize)
	if err := p.Verify(1, leaf(1)); err != nil {
		t.Error(err)
	}
	hit(merkle.BlockSize, merkle.BlockSize)
	miss(2, merkle.BlockSize-1)
	miss(2, 2*merkle.BlockSize-1)
	if err := p.Verify(2, leaf(2)); err != nil {
		t.Error(err)
	}
	hit(100, 2*merkle.BlockSize)
	hit(merkle.BlockSize+100, merkle.BlockSize)
	miss(101, 2*merkle.BlockSize)
	miss(1, -1)

	buf.Release()
	if pool.InUse() != 1 {
		t.Error("the partial piece has no reference of its own")
	}
	p.Release()
	p.Release()
	if pool.InUse() != 0 {
		t.Error("the buffer was not given back")
	}
	if err := p.ReadAt(make([]byte, 1), merkle.BlockSize); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("after Release: %v", err)
	}
	if err := p.Verify(1, merkle.Hash{}); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("Verify after Release: %v", err)
	}
}
