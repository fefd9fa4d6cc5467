package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/fetch/tracker/trackerd"
)

func (a *app) seedCmd() *cobra.Command {
	s := &seeding{a: a}
	cmd := &cobra.Command{
		Use:   "seed [flags] SOURCE --data DIR",
		Short: "Serve a torrent from plain files",
		Long: `Serve a torrent from plain files, which are checked first and never written to,
until interrupted, or until --seed-ratio or --seed-time is reached. With
--with-tracker a small tracker runs beside it, so that nothing else is needed to
publish something.`,
		Example: "  qqbtfs create album -o album.torrent --tracker http://10.0.0.5:6969/announce\n" +
			"  qqbtfs seed album.torrent --data album --with-tracker 10.0.0.5:6969",
		Args:              sourceArg,
		ValidArgsFunction: completeTorrents,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.main(cmd.Context(), args[0]) },
	}
	fs := cmd.Flags()
	fs.Var(&s.data, "data", "where the content is: the directory it was downloaded to, or the content itself (default: here)")
	fs.StringVar(&s.tracker, "with-tracker", "", "run a tracker there too, HOST:PORT (HTTP and UDP)")
	s.net.register(fs)
	s.net.complete(cmd)
	return cmd
}

// seeding is one run of the seed command.
type seeding struct {
	a       *app
	data    config.Path
	tracker string
	net     netFlags
}

func (s *seeding) main(ctx context.Context, source string) (err error) {
	if err := s.net.check(s.a.log.Logger); err != nil {
		return err
	}
	if err := checkTrackerAddr(s.tracker); err != nil {
		return err
	}
	if s.data == "" {
		s.data = "."
	}
	l, err := s.a.load(ctx, s.net.policy, source)
	if err != nil {
		return err
	}
	if err := s.a.fetchMetadata(ctx, &s.net, l, 0); err != nil {
		return err
	}
	where, err := findContent(string(s.data), l.meta)
	if err != nil {
		return err
	}
	urls, stop, err := s.startTracker()
	if err != nil {
		return err
	}
	defer stop()
	opt, err := s.check(ctx, l, where)
	if err != nil {
		return err
	}
	for _, u := range urls {
		if !slices.ContainsFunc(l.meta.Trackers, func(tier []string) bool { return slices.Contains(tier, u) }) {
			l.meta.Trackers = append(l.meta.Trackers, []string{u})
		}
	}
	return s.serve(ctx, l, where, opt, urls)
}

// check hashes the content. A part is enough to seed, nothing is not.
func (s *seeding) check(ctx context.Context, l *loaded, where content) (opt joinOptions, err error) {
	c := newCounter()
	err = s.a.runWithBars([]task{{"checking " + l.meta.Info.Name, c.sample}}, func() error {
		disk, err := where.open(ctx, l, true, c.set)
		if err == nil {
			opt.disk = disk
		}
		return err
	})
	if err != nil {
		return opt, err
	}
	have, all := opt.disk.Stats().Pieces, l.meta.NumPieces()
	switch {
	case have == 0:
		return opt, errors.Join(failf(codeIncomplete, "no piece of %s is at %s: is --data right?", l.meta.Info.Name, where.path()), opt.disk.Close())
	case have < all:
		s.a.log.Warn("content is incomplete or differs, seeding what matches", "pieces", fmt.Sprintf("%d of %d", have, all), "at", where.path())
	}
	return opt, nil
}

// checkTrackerAddr checks --with-tracker; an empty one is none.
func checkTrackerAddr(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return failf(codeUsage, "--with-tracker %s: not of the form HOST:PORT, such as 10.0.0.5:6969", addr)
	}
	return nil
}

// startTracker runs the tracker beside the seed, if it is wanted, and returns its
// announce URLs.
func (s *seeding) startTracker() (urls []string, stop func(), err error) {
	switch {
	case s.tracker == "":
		return nil, func() {}, nil
	case s.net.policy.Proxied():
		return nil, nil, failf(codeUsage, "--with-tracker cannot be reached through --proxy: leave one of them out")
	}
	srv := trackerd.New(trackerd.Options{Logger: s.a.log.Logger, Policy: s.net.policy})
	if err := srv.Listen(s.tracker); err != nil {
		return nil, nil, failf(codeFailure, "--with-tracker %s: %w", s.tracker, trackerError(err))
	}
	for _, host := range hosts(srv.Addr().Addr()) {
		urls = append(urls, "http://"+netip.AddrPortFrom(host, srv.Addr().Port()).String()+"/announce")
	}
	return urls, func() { _ = srv.Close() }, nil
}

// trackerError says what to do about an address that cannot be listened on.
func trackerError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the port is in use: end the program that listens there, or choose another port here and in the torrent's tracker URL")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("this machine has no such address")
	default:
		return err
	}
}

// hosts returns the addresses at which others reach what listens at a: those of
// all interfaces where a is the wildcard.
func hosts(a netip.Addr) []netip.Addr {
	if !a.IsUnspecified() {
		return []netip.Addr{a}
	}
	var out []netip.Addr
	ifs, err := net.InterfaceAddrs()
	if err != nil {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	for _, i := range ifs {
		if p, err := netip.ParsePrefix(i.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && (a.Is6() || p.Addr().Is4()) {
			out = append(out, p.Addr())
		}
	}
	return out
}

// serve joins the swarm until ctx ends.
func (s *seeding) serve(ctx context.Context, l *loaded, where content, opt joinOptions, urls []string) (err error) {
	n, err := s.a.newNode(&s.net, 0)
	if err != nil {
		return errors.Join(err, opt.disk.Close())
	}
	defer func() { err = errors.Join(err, n.close()) }()
	opt.seedOnly = true
	if _, err := n.join(l, opt); err != nil {
		return err
	}
	fmt.Fprintf(s.a.out, "seeding %s from %s\n", l.meta.Info.Name, where.path())
	for _, addr := range n.sess.Addrs() {
		for _, h := range hosts(addr.Addr().Unmap()) {
			fmt.Fprintf(s.a.out, "peer %s\n", netip.AddrPortFrom(h, addr.Port()))
		}
	}
	for _, u := range urls {
		fmt.Fprintf(s.a.out, "tracker %s\n", u)
	}
	ctx, cancel := n.untilSeeded(ctx)
	defer cancel()
	s.a.showProgress(ctx, s.a.err, func() string { return progressText(n.status()) })
	return nil
}
