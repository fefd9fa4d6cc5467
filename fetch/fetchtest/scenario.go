package fetchtest

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// Scenario is a world written down. Each line is a statement:
//
//	torrent pieces=10 piece=64KiB            the first statement
//	seed 7                                   of all chance, 1 by default
//	peer NAME [beside=NAME] [LINK] [BEHAVIOR]
//	client NAME [LINK] [fast=no] [have=1-3,5] [max-peers=N] [slots=N]
//	show PREFIX...                           of the commands and events of the client under test
//	at TIME STATEMENT...                     what happens then
//	until TIME                               or until complete, read or all
//
// LINK is up=, down= (kB/s), delay= and jitter=, one way. BEHAVIOR is any of slow
// fast=no lacks=0.5 mute lies stalls=N poison=P rejects=P chokes=TIME waits=TIME
// leaves=TIME echoes. The first client is the one under test; others leech.
//
// What can happen: know NAME..., fill on|off, read PIECE[-PIECE], open PIECES (a
// handle with that window), next (the handle reads its next piece), cancel, lose
// PIECE, cut NAME, stop NAME, vanish NAME (a stop that nobody is told of), start NAME,
// freeze NAME TIME, resumed (from a suspend), why PIECE, peers.
//
// Running it prints a line for each thing shown, for each read that ends, and
// at the end the counters of the clients. Empty lines and those that begin with
// # are nothing.
type Scenario struct {
	w      *World
	seed   uint64
	c      *Client
	others []*Client
	out    io.Writer
	show   []string

	handle *Handle
	offset int64
	reads  []*pendingRead
	todo   int // statements to come
	end    time.Duration
	stop   func() bool
}

type pendingRead struct {
	*Read
	ended bool
}

// Run runs the scenario in text and writes its transcript to out.
func Run(text string, out io.Writer) error {
	s := &Scenario{out: out, seed: 1, end: time.Minute}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.statement(words(strings.Fields(line))); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if s.c == nil {
		return fmt.Errorf("no client")
	}
	if err := s.w.Run(s.end, s.stop); err != nil {
		return err
	}
	s.say("end")
	for _, c := range append([]*Client{s.c}, s.others...) {
		fmt.Fprintln(s.out, "\t"+c.Summary())
	}
	return nil
}

func (s *Scenario) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%7.1fs  %s\n", s.w.Now().Seconds(), fmt.Sprintf(format, args...))
}

func (s *Scenario) statement(w words) error {
	if s.w == nil && w[0] != "torrent" && w[0] != "seed" {
		return fmt.Errorf("%s before torrent", w[0])
	}
	switch w[0] {
	case "torrent":
		return s.torrent(w)
	case "seed":
		return w.number(1, &s.seed)
	case "peer":
		return s.peer(w)
	case "client":
		return s.client(w)
	case "show":
		s.show = append(s.show, w[1:]...)
	case "at":
		return s.at(w)
	case "until":
		return s.until(w)
	default:
		return fmt.Errorf("unknown statement %q", w[0])
	}
	return nil
}

func (s *Scenario) torrent(w words) error {
	pieces, err := w.integer("pieces", 10)
	if err != nil {
		return err
	}
	piece, err := w.bytes("piece", 64<<10)
	if err != nil {
		return err
	}
	total, err := w.bytes("total", int64(pieces)*piece)
	if err != nil {
		return err
	}
	s.w = NewWorld(s.seed, Torrent{PieceLength: piece, Total: total, Seed: s.seed})
	return nil
}

func (s *Scenario) peer(w words) error {
	l, err := w.link()
	if err != nil {
		return err
	}
	b, err := w.behavior()
	if err != nil {
		return err
	}
	s.w.AddPeer(w[1], w.value("beside"), l, b)
	return nil
}

func (s *Scenario) client(w words) (err error) {
	l, err := w.link()
	if err != nil {
		return err
	}
	cfg := ClientConfig{Fast: w.value("fast") != "no"}
	if cfg.Swarm.MaxPeers, err = w.integer("max-peers", 0); err != nil {
		return err
	}
	if cfg.Swarm.UploadSlots, err = w.integer("slots", 0); err != nil {
		return err
	}
	if have := w.value("have"); have != "" {
		cfg.Have = bitfield.New(s.w.torrent.NumPieces())
		for part := range strings.SplitSeq(have, ",") {
			first, last, err := pieces(part)
			if err != nil {
				return err
			}
			for i := first; i <= last; i++ {
				cfg.Have.Add(i)
			}
		}
	}
	c := s.w.AddClient(w[1], l, cfg)
	if s.c == nil {
		s.c = c
		c.seen = s.seen
		s.handle = c.Open(0)
	} else {
		s.others = append(s.others, c)
		c.Fill(true)
	}
	return nil
}

// seen prints what the scenario shows of the client under test.
func (s *Scenario) seen(line string) {
	if slices.ContainsFunc(s.show, func(p string) bool { return p == "all" || strings.HasPrefix(line, p) }) {
		s.say("%s", line)
	}
}

func (s *Scenario) until(w words) error {
	switch w[1] {
	case "complete":
		s.stop = func() bool { return s.todo == 0 && s.c.Complete() }
	case "read":
		s.stop = func() bool {
			return s.todo == 0 && !slices.ContainsFunc(s.reads, func(r *pendingRead) bool { return !r.ended })
		}
	case "all":
		s.stop = func() bool {
			return s.todo == 0 && s.c.Complete() &&
				!slices.ContainsFunc(s.others, func(c *Client) bool { return !c.Complete() })
		}
	default:
		return w.time(1, &s.end)
	}
	s.end = 2 * time.Hour
	return nil
}

func (s *Scenario) at(w words) error {
	var at time.Duration
	if err := w.time(1, &at); err != nil {
		return err
	}
	do, err := s.action(w[2:])
	if err != nil {
		return err
	}
	s.todo++
	s.w.clock.at(at, func() {
		s.todo--
		s.say("%s", strings.Join(w[2:], " "))
		do()
	})
	return nil
}

func (s *Scenario) action(w words) (func(), error) {
	switch w[0] {
	case "know":
		return s.know(w)
	case "fill":
		return func() { s.c.Fill(w[1] == "on") }, nil
	case "read", "lose", "why", "open":
		first, last, err := pieces(w[1])
		if err == nil && last >= s.w.torrent.NumPieces() && w[0] != "open" {
			err = fmt.Errorf("no piece %d", last)
		}
		return s.onPieces(w[0], first, last), err
	case "next":
		return s.next, nil
	case "cancel":
		return s.cancel, nil
	case "peers":
		return s.peers, nil
	case "resumed":
		return s.c.Resumed, nil
	case "freeze":
		var d time.Duration
		if s.w.byName[w[1]] == nil {
			return nil, fmt.Errorf("no host %q", w[1])
		}
		err := w.time(2, &d)
		return func() { s.w.Freeze(w[1], d) }, err
	case "cut", "stop", "vanish", "start":
		if s.w.byName[w[1]] == nil {
			return nil, fmt.Errorf("no host %q", w[1])
		}
		return map[string]func(){
			"cut": func() { s.w.Cut(w[1]) }, "stop": func() { s.w.Stop(w[1]) }, "start": func() { s.w.Start(w[1]) },
			"vanish": func() { s.w.Vanish(w[1]) },
		}[w[0]], nil
	}
	return nil, fmt.Errorf("unknown action %q", w[0])
}

// know tells the client under test addresses; "NAME: NAME..." tells another's.
func (s *Scenario) know(w words) (func(), error) {
	to, names := s.c, w[1:]
	if name, ok := strings.CutSuffix(w[1], ":"); ok {
		h := s.w.byName[name]
		if h == nil {
			return nil, fmt.Errorf("no host %q", name)
		}
		to, names = h.node.(*Client), w[2:]
	}
	var addrs []netip.AddrPort
	for _, name := range names {
		h := s.w.byName[name]
		if h == nil {
			return nil, fmt.Errorf("no host %q", name)
		}
		addrs = append(addrs, h.addr)
	}
	return func() { to.Know(addrs...) }, nil
}

func (s *Scenario) onPieces(what string, first, last int) func() {
	size := s.w.torrent.PieceLength
	switch what {
	case "lose":
		return func() { s.c.lose(first) }
	case "why":
		return func() { s.say("%s", s.c.swarm.Why(first)) }
	case "open":
		return func() {
			s.handle.Close()
			s.handle, s.offset = s.c.Open(int64(first)*size), 0
		}
	default:
		return func() {
			s.offset = int64(first) * size
			s.read(int64(last-first+1) * size)
		}
	}
}

func (s *Scenario) next() { s.read(s.w.torrent.PieceLength) }

func (s *Scenario) read(n int64) {
	p := &pendingRead{}
	s.reads = append(s.reads, p)
	at := s.offset
	s.offset += n
	p.Read = s.handle.ReadAt(at, n, func(took time.Duration) {
		p.ended = true
		s.say("read of piece %d done in %v", at/s.w.torrent.PieceLength, took.Round(100*time.Millisecond))
	})
}

// cancel gives up all reads.
func (s *Scenario) cancel() {
	for _, r := range s.reads {
		if !r.ended {
			r.ended = true
			s.handle.Cancel(r.Read)
		}
	}
}

func (s *Scenario) peers() {
	for _, p := range s.c.swarm.Peers() {
		flag := func(on bool, name string) string {
			if on {
				return " " + name
			}
			return ""
		}
		s.say("  %d %s: %d pieces, owes %d%s%s%s%s%s", p.ID, p.Client, p.Pieces, p.Owes,
			flag(p.WeInterested, "wanted"), flag(p.ChokesUs, "chokes"), flag(p.Snubbed, "snubbed"),
			flag(p.Interested, "interested"), flag(!p.WeChoke, "served"))
	}
}
