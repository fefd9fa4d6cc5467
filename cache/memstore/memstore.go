// Package memstore keeps pieces in memory: the reference cache.Store.
//
// It is a map behind a mutex, simple enough to be right by reading, so that the
// conformance suite can be tried on it and other packages can test on it. It has
// no limit and forgets everything on Close; cache.Cache without a disk is what a
// program uses to run from RAM.
package memstore

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache"
)

// Store is a cache.Store in memory, safe for concurrent use.
type Store struct {
	geo cache.Geometry

	mu     sync.Mutex
	pieces map[int]cache.Piece // nil after Close
	stats  cache.Stats
}

var _ cache.Store = (*Store)(nil)

// New returns an empty store for the torrent g.
func New(g cache.Geometry) *Store {
	return &Store{geo: g, pieces: make(map[int]cache.Piece), stats: cache.Stats{State: "ok"}}
}

// Put implements cache.Store.
func (s *Store) Put(ctx context.Context, pieces ...cache.Piece) error {
	var errs []error
	for _, p := range pieces {
		if err := s.put(ctx, p); err != nil {
			p.Release()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// put takes over the reference to p if it returns nil.
func (s *Store) put(ctx context.Context, p cache.Piece) error {
	if err := firstErr(ctx.Err(), s.geo.CheckPiece(p)); err != nil {
		return err
	}
	s.mu.Lock()
	if s.pieces == nil {
		s.mu.Unlock()
		return cache.ErrClosed
	}
	old, twice := s.pieces[p.Index()]
	if !twice {
		s.account(1, p)
	}
	s.pieces[p.Index()] = p
	s.mu.Unlock()
	if twice {
		old.Release()
	}
	return nil
}

// account books sign pieces of p's size. s.mu is held.
func (s *Store) account(sign int, p cache.Piece) {
	n := int64(sign * p.Len())
	s.stats.Pieces += sign
	s.stats.Bytes += n
	s.stats.RAMBytes += n
}

// ReadAt implements cache.Store.
func (s *Store) ReadAt(dst []byte, index, off int) error {
	s.mu.Lock()
	p, ok := s.pieces[index]
	closed := s.pieces == nil
	if ok {
		p.Retain()
		s.stats.RAMHits++
	}
	s.mu.Unlock()
	if closed {
		return cache.ErrClosed
	}
	if !ok {
		return firstErr(s.geo.CheckRange(index, off, len(dst)), cache.ErrMiss)
	}
	defer p.Release()
	if err := s.geo.CheckRange(index, off, len(dst)); err != nil {
		return err
	}
	copy(dst, p.Bytes()[off:])
	return nil
}

// Has implements cache.Store.
func (s *Store) Has(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pieces[index]
	return ok
}

// Pieces implements cache.Store.
func (s *Store) Pieces() iter.Seq[int] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Values(slices.Sorted(maps.Keys(s.pieces)))
}

// Delete implements cache.Store.
func (s *Store) Delete(index int) error {
	s.mu.Lock()
	if s.pieces == nil {
		s.mu.Unlock()
		return cache.ErrClosed
	}
	p, ok := s.pieces[index]
	if ok {
		delete(s.pieces, index)
		s.account(-1, p)
	}
	s.mu.Unlock()
	if ok {
		p.Release()
	}
	return nil
}

// Flush implements cache.Store. Memory has nothing to flush.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pieces == nil {
		return cache.ErrClosed
	}
	return ctx.Err()
}

// Stats implements cache.Store.
func (s *Store) Stats() cache.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close implements cache.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	old := s.pieces
	s.pieces = nil
	s.stats = cache.Stats{State: "closed"}
	s.mu.Unlock()
	for _, p := range old {
		p.Release()
	}
	return nil
}

// firstErr returns the first of errs that is not nil.
func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
