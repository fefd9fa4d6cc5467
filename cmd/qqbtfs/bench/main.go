// Command bench measures qqbtfs beside btfs, aria2c and plain files, on this
// machine and over loopback.
//
// A run makes its content, seeds it from libtorrent sessions where Debian's
// python3-libtorrent is installed and else from qqbtfs seed, and lets every
// contender that is installed go through the same scenarios: whole reads,
// first bytes and seeks over links with a delay, a player, listings, restarts
// and an unmount under a read that waits. A proxy in this program stands in front
// of every seeder where a scenario wants a rate or a delay. The results are one
// table; with -md they are a document too, with the machine and the versions.
//
// Figures are comparable within one run on one machine and nowhere else. Nothing
// in the table is estimated: what could not be measured is a dash, what ran into
// the time limit is marked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bin        string
	work       string
	md         string
	scenarios  string
	contenders string
	seeder     string
	size       int64
	limit      time.Duration
	quick      bool
}

func parseOptions(args []string, errOut io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errOut)
	size := fs.Int64("size", 1024, "content of cp, get, warm and remount, in MiB")
	fs.StringVar(&o.bin, "bin", "bin/qqbtfs", "the qqbtfs to measure")
	fs.StringVar(&o.work, "work", "", "directory for content and caches (default: a temporary one, removed at the end)")
	fs.StringVar(&o.md, "md", "", "write the results to this Markdown file too")
	fs.StringVar(&o.scenarios, "scenarios", "", "run these only, separated by commas: "+strings.Join(scenarioNames(), ","))
	fs.StringVar(&o.contenders, "contenders", "qqbtfs,btfs,aria2c", "measure these, where they are installed")
	fs.StringVar(&o.seeder, "seeder", "auto", "who seeds: libtorrent, qqbtfs, or auto")
	fs.DurationVar(&o.limit, "limit", 2*time.Minute, "time limit of one measurement (with -quick: 20 s)")
	fs.BoolVar(&o.quick, "quick", false, "small content and short runs: a test of this program, not a measurement")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *size < 1 {
		return o, fmt.Errorf("-size %d: must be at least 1 MiB", *size)
	}
	o.size = *size << 20
	if o.quick {
		o.limit = 20 * time.Second
	}
	o.bin, err = filepath.Abs(o.bin)
	return o, err
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parseOptions(args, errOut)
	if err != nil {
		return err
	}
	chosen, err := chooseScenarios(o.scenarios)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o, errOut)
	if err != nil {
		return err
	}
	defer b.close()
	err = b.runAll(ctx, chosen)
	report := b.report(chosen)
	fmt.Fprint(out, report.text())
	if err != nil {
		return err
	}
	if o.md != "" {
		if err := os.WriteFile(o.md, []byte(report.markdown()), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(b.failures...)
}

// runAll runs scenarios until one cannot be measured at all.
func (b *bench) runAll(ctx context.Context, chosen []scenario) error {
	for _, s := range chosen {
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// scenario is one kind of measurement. It enters what it finds into the table and
// returns an error only when nothing can be measured at all.
type scenario struct {
	name  string
	about string // for the document
	run   func(ctx context.Context, b *bench) error
}

var scenarios = []scenario{
	{"cp", "one file read from front to end out of the mount and compared, 4 seeders without a limit; for aria2c the plain download of the same torrent", runCopy},
	{"get", "the same torrent to plain files, from process start to exit", runGet},
	{"ttfb", "from the start of the process to the first 64 KiB of a 256 MiB file, median of 5; local, and over links with a round trip of 50 ms", runTTFB},
	{"seek", "20 reads of 64 KiB at random places of a 512 MiB file while the download goes on, 8 seeders of 500 kB/s and 50 ms", runSeek},
	{"play", "a player of 1 MB/s on 8 seeders of 190 kB/s and 50 ms: reads head and tail, starts with 2 s buffered, plays 15 s, jumps", runPlay},
	{"together", "two such players and a cp, each on a file of one torrent, 8 seeders of 500 kB/s and 50 ms", runTogether},
	{"scan", "first and last 64 KiB of 200 files of 1 MB each, 8 seeders of 1 MB/s and 50 ms, nothing fetched that is not read: alone, and beside a player", runScan},
	{"remount", "a complete torrent mounted again, no seeder: until the file is there, and until its first 64 KiB are read", runRemount},
	{"warm", "then all of it read, nothing in the kernel's cache; and again, all in it", runWarm},
	{"find", "find -ls over 60,000 small files, right after the mount and again", runFind},
	{"unmount", "SIGTERM while a read waits for a piece that nobody has, until the process and the mount are gone", runUnmount},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// chooseScenarios returns the scenarios of a list of names, all for "".
func chooseScenarios(list string) ([]scenario, error) {
	if list == "" {
		return scenarios, nil
	}
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(scenarioNames(), n) {
			return nil, fmt.Errorf("-scenarios: there is no scenario %q", n)
		}
	}
	return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(names, s.name) }), nil
}
