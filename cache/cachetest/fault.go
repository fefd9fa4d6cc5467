package cachetest

import (
	"context"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache"
)

// FaultStore is a Store whose operations fail on command. The n-th of Put,
// ReadAt, Delete and Flush fails, and whether it did shows in Fired; its Put
// stores every other piece all the same, as the contract allows. A failing ReadAt
// leaves rubbish in dst.
type FaultStore struct {
	cache.Store

	mu     sync.Mutex
	n      int // operations so far
	failAt int
	err    error            // of the n-th operation
	broken map[string]error // by operation
	fired  string
	spoilt map[int]bool // pieces that are read with a wrong bit
	calls  map[string]int
}

// NewFaultStore returns a FaultStore over st whose n-th operation, counted from
// 1, fails with err; zero means none.
func NewFaultStore(st cache.Store, n int, err error) *FaultStore {
	return &FaultStore{
		Store: st, failAt: n, err: err,
		broken: make(map[string]error), spoilt: make(map[int]bool), calls: make(map[string]int),
	}
}

// Break makes every further op ("Put", "ReadAt", "Delete", "Flush") fail with
// err and do nothing, until it is nil.
func (f *FaultStore) Break(op string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[op] = err
}

// Spoil makes every read of piece index give a wrong bit without an error,
// until the piece is deleted.
func (f *FaultStore) Spoil(index int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoilt[index] = true
}

// Fired returns the operation that failed as the n-th, "" if there was none yet.
func (f *FaultStore) Fired() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Calls returns how many times op was called.
func (f *FaultStore) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// step counts an operation and returns the error that it must fail with.
func (f *FaultStore) step(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.calls[op]++
	if f.n == f.failAt {
		f.fired = op
		return f.err
	}
	return f.broken[op]
}

// Put implements cache.Store.
func (f *FaultStore) Put(ctx context.Context, pieces ...cache.Piece) error {
	err := f.step("Put")
	if err == nil {
		return f.Store.Put(ctx, pieces...)
	}
	for i, p := range pieces {
		if i%2 == 0 || f.Fired() == "" {
			p.Release()
		} else if perr := f.Store.Put(ctx, p); perr != nil {
			return perr
		}
	}
	return err
}

// ReadAt implements cache.Store.
func (f *FaultStore) ReadAt(dst []byte, index, off int) error {
	err := f.step("ReadAt")
	if err == nil {
		err = f.Store.ReadAt(dst, index, off)
	}
	f.mu.Lock()
	spoilt := f.spoilt[index]
	f.mu.Unlock()
	if len(dst) > 0 && (err != nil || spoilt) {
		dst[len(dst)/2] ^= 1
	}
	return err
}

// Delete implements cache.Store.
func (f *FaultStore) Delete(index int) error {
	if err := f.step("Delete"); err != nil {
		return err
	}
	f.mu.Lock()
	delete(f.spoilt, index)
	f.mu.Unlock()
	return f.Store.Delete(index)
}

// Flush implements cache.Store.
func (f *FaultStore) Flush(ctx context.Context) error {
	if err := f.step("Flush"); err != nil {
		return err
	}
	return f.Store.Flush(ctx)
}
