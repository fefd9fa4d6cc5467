package memstore_test

import (
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

func TestConformance(t *testing.T) {
	cachetest.Conformance(t, func(t *testing.T, g cache.Geometry) cache.Store {
		return memstore.New(g)
	})
}
