package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What a client has to know for a test of it to make sense, in the order of the table.
const (
	v1         = "v1"
	hybrid     = "hybrid"
	v2         = "v2"
	byMagnet   = "magnet link"
	encryption = "encryption"
	ipv6       = "IPv6"
	byDHT      = "DHT alone"
	byPEX      = "PEX alone"
	byLSD      = "LSD alone"
	uploadOnly = "BEP 21"
	dontHave   = "BEP 54"
	together   = "swarm"
)

// What some clients prove and others cannot.
const (
	mountReads  = "our mount reads what it seeds"
	readsByLink = mountReads + " by a magnet link"
	getsByLink  = "gets all from our mount by a magnet link that names it"
	findsSeed   = "finds our seed"
	tellsUs     = "tells our mount of our seed"
	eachOther   = "it and our mount find each other"
)

var features = []string{v1, hybrid, v2, byMagnet, encryption, ipv6, byDHT, byPEX, byLSD, uploadOnly, dontHave, together}

// eachClient runs a test with each client that has a feature. What it proves is a row of
// the table. The clients wait more than they work, transmission up to 10 s until it looks
// at its peers, so all of them together take one of the places of parallel tests.
func eachClient(t *testing.T, feature, what string, test func(t *testing.T, s *sandbox, c client)) {
	t.Parallel()
	var all sync.WaitGroup
	defer all.Wait()
	for _, c := range clients {
		all.Go(func() {
			t.Run(c.name, func(t *testing.T) {
				interop.record(t, c, feature, what)
				if why := c.cannot(feature, what); why != "" {
					t.Skipf("%s, %s: it %s", c.name, feature, why)
				}
				test(t, newSandbox(t), c)
			})
		})
	}
}

// cannot says why a client cannot prove something, if so.
func (c client) cannot(feature, what string) string {
	return cmp.Or(c.lacks[feature], c.lacks[feature+": "+what])
}

// interop collects what passed with which client.
var interop results

type results struct {
	mu       sync.Mutex
	cells    map[[3]string]string // by feature, what is proven, client
	versions map[string]string    // by client
	notes    []string
}

// tableFile names the file that the table is written to, if it is to be written.
var tableFile = os.Getenv("QQBTFS_INTEROP_TABLE")

// record notes at its end how a test went.
func (r *results) record(t *testing.T, c client, feature, what string) {
	if tableFile == "" {
		return
	}
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.cells == nil {
			r.cells, r.versions = map[[3]string]string{}, map[string]string{}
		}
		if r.versions[c.name] == "" {
			r.versions[c.name] = c.versionOf()
		}
		verdict := "yes"
		switch {
		case t.Failed():
			verdict = "**no**"
		case c.cannot(feature, what) != "":
			verdict = "–"
		case t.Skipped():
			verdict = "not run"
		}
		r.cells[[3]string{feature, what, c.name}] = verdict
	})
}

// note adds a sentence below the table.
func (r *results) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

var number = regexp.MustCompile(`\d+(\.\d+)+`)

// versionOf is empty if the client is not installed.
func (c client) versionOf() string {
	out, _ := exec.Command(c.version[0], c.version[1:]...).CombinedOutput()
	return string(number.Find(out))
}

// write writes the table.
func (r *results) write(file string) error {
	var b strings.Builder
	b.WriteString("# Beside other clients\n\nWritten by `make interop`: what passed with which client, on loopback or a network of\n" +
		"two machines. The content that arrives is compared with what was published.\n\n|")
	line := "\n|---|"
	for _, c := range clients {
		fmt.Fprintf(&b, " | %s %s", c.name, r.versions[c.name])
		line += "---|"
	}
	b.WriteString(" |" + line)
	rows := slices.SortedFunc(maps.Keys(r.cells), func(x, y [3]string) int {
		return cmp.Or(slices.Index(features, x[0])-slices.Index(features, y[0]), strings.Compare(x[1], y[1]))
	})
	rows = slices.CompactFunc(rows, func(x, y [3]string) bool { return x[0] == y[0] && x[1] == y[1] })
	for _, row := range rows {
		fmt.Fprintf(&b, "\n| %s: %s", row[0], row[1])
		for _, c := range clients {
			fmt.Fprintf(&b, " | %s", r.cells[[3]string{row[0], row[1], c.name}])
		}
		b.WriteString(" |")
	}
	b.WriteString("\n\nWhy there is a dash:\n")
	for _, c := range clients {
		for _, lack := range slices.Sorted(maps.Keys(c.lacks)) {
			fmt.Fprintf(&b, "\n- %s, %s: it %s", c.name, lack, c.lacks[lack])
		}
	}
	for _, note := range r.notes {
		b.WriteString("\n\n" + note)
	}
	return os.WriteFile(file, []byte(b.String()+"\n"), 0o644)
}
