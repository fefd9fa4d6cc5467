package readahead

import "testing"

const mib = 1 << 20

func TestWindow(t *testing.T) {
	type read struct{ off, n int64 }
	seq := func(from, n, count int64) (list []read) {
		for i := range count {
			list = append(list, read{from + i*n, n})
		}
		return list
	}
	for _, tc := range []struct {
		name     string
		reads    []read
		from, to int64
	}{
		{"nothing read", nil, 0, 0},
		{"one read earns nothing", seq(0, 65536, 1), 65536, 65536},
		{"a second read does", seq(0, 65536, 2), 131072, 131072 + 4*65536},
		{"up to the maximum", seq(0, mib, 64), 64 * mib, 64*mib + 32*mib},
		{"the same read again earns nothing", []read{{0, 100}, {0, 100}}, 100, 100},
		{"a jump forward gives it back", append(seq(0, mib, 64), read{500 * mib, 4096}), 500*mib + 4096, 500*mib + 4096},
		{"a jump back too", append(seq(400*mib, mib, 64), read{0, 4096}), 4096, 4096},
		{"a little out of order goes on", []read{{0, mib}, {2 * mib, mib}, {mib, mib}}, 3 * mib, 3*mib + 4*mib},
		{"what is skipped earns nothing", []read{{0, 4096}, {mib, 4096}}, mib + 4096, mib + 4096 + 4*4096},
	} {
		w := Window{Max: 32 * mib}
		for _, r := range tc.reads {
			w.Read(r.off, r.n)
		}
		if from, to := w.Wanted(); from != tc.from || to != tc.to {
			t.Errorf("%s: wanted [%d, %d), want [%d, %d)", tc.name, from, to, tc.from, tc.to)
		}
	}
}
