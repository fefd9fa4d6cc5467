package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// report is a run's results with what must be known to judge them.
type report struct {
	scenarios []scenario
	table     table
	facts     [][2]string
	notes     []string
}

func (b *bench) report(chosen []scenario) *report {
	r := &report{scenarios: chosen, table: b.table, facts: [][2]string{
		{"date", b.started.UTC().Format("2006-01-02 15:04 UTC")},
		{"machine", machine()},
		{"load before", loadBefore},
		{"qqbtfs", b.ownVersion()},
	}}
	for _, m := range b.mounters {
		if !m.ours {
			r.facts = append(r.facts, [2]string{m.name, version(m.name)})
		}
	}
	if b.aria2 {
		r.facts = append(r.facts, [2]string{"aria2c", version("aria2c")})
	}
	seeder := "qqbtfs seed"
	if b.seeder.libtorrent {
		seeder = "libtorrent " + b.seeder.version
	}
	r.facts = append(r.facts, [2]string{"seeders", seeder + ", over loopback"},
		[2]string{"content", fmt.Sprintf("%d MiB where nothing else is said, pieces of %s", choose(b, b.opt.size, 8<<20)>>20, pieceLength)})
	if strings.Contains(b.table.text(), mark) {
		r.notes = append(r.notes, mark+" ended by a time limit before it was complete")
	}
	if !b.dropped {
		r.notes = append(r.notes, "not run as root: the kernel's caches were not dropped where they should have been")
	}
	if busy() {
		r.notes = append(r.notes, "the machine was busy with other things when the run began: run it again before concluding anything")
	}
	if b.opt.quick {
		r.notes = append(r.notes, "-quick: too small to mean anything")
	}
	return r
}

// text is the table with the facts under it.
func (r *report) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n", r.table.text())
	for _, n := range r.notes {
		fmt.Fprintln(&out, n)
	}
	for _, f := range r.facts {
		fmt.Fprintf(&out, "%-12s %s\n", f[0], f[1])
	}
	return out.String()
}

// markdown is the same as a document.
func (r *report) markdown() string {
	var out strings.Builder
	out.WriteString("# Benchmarks\n\nWritten by `make bench`'s program (`go run ./cmd/qqbtfs/bench -md docs/benchmarks.md`); " +
		"edit nothing here by hand.\nCompare figures of one run only: they say what the programs do beside each other on one machine.\n\n")
	for _, f := range r.facts {
		fmt.Fprintf(&out, "- %s: %s\n", f[0], f[1])
	}
	fmt.Fprintf(&out, "\n```text\n%s```\n", r.table.text())
	for _, n := range r.notes {
		fmt.Fprintf(&out, "\n%s\n", strings.Replace(n, mark, `\`+mark, 1))
	}
	out.WriteString("\n## What is measured\n\n")
	for _, s := range r.scenarios {
		fmt.Fprintf(&out, "- **%s**: %s.\n", s.name, s.about)
	}
	return out.String()
}

// loadBefore is the machine's load when the program starts: on a busy machine
// no figure means much.
var loadBefore = func() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}()

// busy reports whether more was running than there are cores.
func busy() bool {
	var load float64
	_, err := fmt.Sscan(loadBefore, &load)
	return err == nil && load > float64(runtime.NumCPU())
}

// machine describes processor, memory and system.
func machine() string {
	parts := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if m := match(`(?m)^model name\s*: (.*)$`, "/proc/cpuinfo"); m != "" {
		parts = append(parts, m)
	}
	var kib int64
	if _, err := fmt.Sscan(match(`MemTotal:\s*(\d+)`, "/proc/meminfo"), &kib); err == nil {
		parts = append(parts, fmt.Sprintf("%d GiB", (kib+1<<19)>>20))
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err == nil {
		parts = append(parts, "Linux "+strings.TrimSpace(string(kernel)))
	}
	return strings.Join(append(parts, runtime.Version()), ", ")
}

// match returns the first group of a pattern in a file, "" if there is none.
func match(pattern, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// ownVersion is what the measured qqbtfs says of itself.
func (b *bench) ownVersion() string {
	out, err := exec.Command(b.opt.bin, "version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "qqbtfs ")
}

// versionText is how btfs and aria2c give their version among those of others.
var versionText = regexp.MustCompile(`(?m)^(?:btfs|aria2) version:? (\S+)`)

func version(program string) string {
	cmd := exec.Command(program, "--version")
	cmd.WaitDelay = time.Second
	out, _ := cmd.CombinedOutput()
	if m := versionText.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "unknown"
}
