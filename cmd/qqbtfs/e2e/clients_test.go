package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client is a BitTorrent client that we did not write. It downloads a torrent, by its file
// or a magnet link, to a directory, or seeds it from there if it is complete.
type client struct {
	name    string
	run     func(s *sandbox, torrent, dir string) *foreign
	version []string // a command line that tells it
	// noDial is set if it connects to nobody on loopback, so that it has to be
	// connected to.
	noDial bool
	// pexAfter is how long after its start it sends its first message of peer exchange.
	pexAfter time.Duration
	// lacks says why it cannot do what it cannot do: a feature, or a row of the table.
	lacks map[string]string
}

// foreign is a running client.
type foreign struct {
	*process
	addr string // where it accepts peers
}

// hides is why it is not known what the others make of what our programs tell.
const hides = "does not show what it knows of its peers"

// padding is why rtorrent seeds no hybrid that it has not downloaded.
const padding = "seeds the padding files too, which only its own downloads have"

var clients = []client{
	{
		name: "aria2", run: runAria2, version: []string{"aria2c", "--version"},
		lacks: map[string]string{
			v2: "knows v1 only", hybrid: "gets the info-hash of one wrong", uploadOnly: hides, dontHave: hides,
			ipv6:                     "binds to interfaces, and all of IPv6 loopback is on one",
			byPEX + ": " + tellsUs:   "tells nobody of a seed within two minutes",
			byLSD + ": " + eachOther: "hears who is there, but is not heard when it seeds",
		},
	},
	{
		name: "transmission", run: runTransmission, version: []string{"transmission-daemon", "--version"}, noDial: true,
		lacks: map[string]string{
			v2: "knows v1 only", hybrid: "refuses one", uploadOnly: hides, dontHave: hides,
		},
	},
	{
		name: "libtorrent", run: runLibtorrent, version: []string{findPython(), "-c", "import libtorrent; print(libtorrent.__version__)"},
	},
	{
		name: "rtorrent", run: runRtorrent, version: []string{"rtorrent", "-h"}, pexAfter: 90 * time.Second,
		lacks: map[string]string{
			v2: "knows v1 only", ipv6: "binds to no address of IPv6", byLSD: "has none", uploadOnly: hides, dontHave: hides,
			byDHT + ": " + findsSeed:   "reads the addresses in an answer two bytes too early: 10.79.0.1 is 54.58.10.79 to it",
			hybrid + ": " + mountReads: padding, hybrid + ": " + readsByLink: padding,
			hybrid + ": " + getsByLink: "takes no peers of links",
		},
	},
	{
		name: "qbittorrent", run: runQbittorrent, version: []string{"qbittorrent-nox", "--version"},
		lacks: map[string]string{uploadOnly: hides, dontHave: hides},
	},
}

func runAria2(s *sandbox, torrent, dir string) *foreign {
	s.t.Helper()
	host, port := s.freeAddr()
	var more []string
	if s.encryption == "required" {
		more = []string{"--bt-require-crypto=true", "--bt-min-crypto-level=arc4"}
	}
	if s.upload > 0 {
		more = append(more, "--max-overall-upload-limit="+itoa(s.upload))
	}
	if s.dht != nil {
		more = append(more, "--enable-dht=true", "--dht-entry-point="+s.dht[0], "--dht-listen-port="+itoa(port), "--dht-file-path="+s.path("aria2.dht"))
	} else {
		more = append(more, "--enable-dht=false")
	}
	args := append(more, "--no-conf", "--interface="+host, "--listen-port="+itoa(port),
		"--enable-dht6=false", fmt.Sprintf("--bt-enable-lpd=%t", s.lsd), "--bt-lpd-interface="+host, "--disable-ipv6", "--follow-torrent=mem",
		"--file-allocation=none", "--disk-cache=0", "--check-integrity", "--bt-seed-unverified=false", "--seed-ratio=0",
		"--allow-overwrite", "--bt-tracker-interval=2", "--summary-interval=0", "--console-log-level=notice", "-d", dir, torrent)
	p := start(s.t, s.foreign(need(s.t, "aria2c"), args...))
	s.awaitPort(p, host, port)
	return &foreign{p, net.JoinHostPort(host, itoa(port))}
}

func runTransmission(s *sandbox, torrent, dir string) *foreign {
	s.t.Helper()
	bin := need(s.t, "transmission-daemon")
	host, port := s.freeAddr()
	encryption := 0 // as they like it
	if s.encryption == "required" {
		encryption = 2
	}
	home := s.mkdir("transmission" + itoa(port))
	link := strings.HasPrefix(torrent, "magnet:")
	rpc := freePort(s.t, "127.0.0.1")
	settings, err := json.Marshal(map[string]any{
		map[bool]string{false: "bind-address-ipv4", true: "bind-address-ipv6"}[s.ipv6]: host, "peer-port": port, "download-dir": dir,
		"rpc-enabled": link, "rpc-bind-address": "127.0.0.1", "rpc-port": rpc,
		"speed-limit-up-enabled": s.upload > 0, "speed-limit-up": s.upload / 1000,
		"watch-dir": filepath.Join(home, "watch"), "watch-dir-enabled": true, "encryption": encryption, "cache-size-mb": 0,
		"dht-enabled": s.dht != nil, "lpd-enabled": s.lsd, "pex-enabled": s.pex, "utp-enabled": false,
		"port-forwarding-enabled": false, "preallocation": 0, "message-level": 3,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(filepath.Join(filepath.Base(home), "settings.json"), settings)
	// It asks the nodes of a table that it has saved one behind the other; those of its file
	// dht.bootstrap 15 s apart.
	var table []byte
	for _, node := range s.dht {
		a := netip.MustParseAddrPort(node)
		table = append(append(table, a.Addr().AsSlice()...), byte(a.Port()>>8), byte(a.Port()))
	}
	s.write(filepath.Join(filepath.Base(home), "dht.dat"), fmt.Appendf(nil, "d5:nodes%d:%se", len(table), table))
	if !link { // it looks for files of that name
		s.write(filepath.Join(filepath.Base(home), "watch/t.torrent"), readFile(s.t, torrent))
	}
	p := start(s.t, s.foreign(bin, "-f", "-g", home))
	s.awaitPort(p, host, port)
	if link {
		s.awaitPort(p, "127.0.0.1", rpc)
		addToTransmission(s.t, rpc, torrent)
	}
	p.awaitOutput(s.t, "Verification is done") // before that it listens and refuses all
	if s.lsd {
		p.awaitOutput(s.t, "LPD announce message away") // before that it drops what it hears
	}
	return &foreign{p, net.JoinHostPort(host, itoa(port))}
}

// addToTransmission adds a magnet link. The first request is answered with the id that
// the second one must have.
func addToTransmission(t *testing.T, port int, link string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"method": "torrent-add", "arguments": map[string]any{"filename": link}})
	if err != nil {
		t.Fatal(err)
	}
	const idHeader = "X-Transmission-Session-Id"
	for id := ""; ; {
		req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+itoa(port)+"/transmission/rpc", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(idHeader, id)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		resp.Body.Close()
		if resp.StatusCode == http.StatusConflict && id == "" {
			id = resp.Header.Get(idHeader)
			continue
		}
		if err != nil || !bytes.Contains(answer, []byte(`"success"`)) {
			t.Fatalf("transmission answers %s, %s, %v", resp.Status, answer, err)
		}
		return
	}
}

// python returns a python that has libtorrent, or skips the test.
func python(t *testing.T) string {
	t.Helper()
	py := findPython()
	if exec.Command(py, "-c", "import libtorrent").Run() != nil {
		t.Skip("python3-libtorrent is not installed")
	}
	return py
}

// findPython prefers the system's: packages are for it.
func findPython() string {
	const system = "/usr/bin/python3"
	if _, err := os.Stat(system); err != nil {
		return "python3"
	}
	return system
}

func libtorrentScript(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs("testdata/libtorrent_client.py")
	if err != nil {
		t.Fatal(err)
	}
	return script
}

func runLibtorrent(s *sandbox, torrent, dir string) *foreign {
	s.t.Helper()
	host, port := s.freeAddr()
	addr := net.JoinHostPort(host, itoa(port))
	cmd := s.foreign(python(s.t), libtorrentScript(s.t), "run", torrent, dir, addr)
	if s.lsd {
		cmd.Env = append(cmd.Env, "LSD=1")
	}
	cmd.Env = append(cmd.Env, "ENCRYPTION="+s.encryption, "DHT="+strings.Join(s.dht, ","), "UPLOAD="+itoa(s.upload),
		"PEERS="+strings.Join(s.peers, ","), "WANT="+s.want)
	p := start(s.t, cmd)
	s.awaitPort(p, host, port)
	return &foreign{p, addr}
}

func runRtorrent(s *sandbox, torrent, dir string) *foreign {
	s.t.Helper()
	bin := need(s.t, "rtorrent")
	host, port := s.freeAddr()
	rc := fmt.Sprintf(`
system.daemon.set = true
directory.default.set = %q
network.bind_address.set = %s
network.port_range.set = %d-%[3]d
network.port_random.set = no
protocol.pex.set = %s
throttle.global_up.max_rate.set = %d
`, dir, host, port, map[bool]string{false: "no", true: "yes"}[s.pex], s.upload)
	if s.encryption == "required" {
		rc += "protocol.encryption.set = require,require_RC4,allow_incoming,try_outgoing\n"
	} else {
		rc += "protocol.encryption.set = allow_incoming,enable_retry\n"
	}
	if s.dht != nil {
		// It needs a place to keep its table. It asks as soon as it has the torrent, and if
		// it has no node yet, then again after a long time.
		rc += fmt.Sprintf(`
session.path.set = %q
dht.port.set = %d
dht.mode.set = on
schedule2 = node, 0, 2, "dht.add_node=%s"
schedule2 = again, 3, 3, ((d.multicall2, main, ((d.tracker_announce))))
`, s.mkdir("rtorrent"+itoa(port)), port, s.dht[0])
	}
	if b := s.torrentFile(torrent); b != nil && !bytes.HasPrefix(b, []byte("d8:announce")) {
		// It takes none without a tracker.
		const tracker = "http://" + nobody + "/announce"
		torrent = s.write("with-tracker.torrent", fmt.Appendf(nil, "d8:announce%d:%s%s", len(tracker), tracker, b[1:]))
	}
	file := s.write("rtorrent"+itoa(port)+".rc", []byte(rc))
	p := start(s.t, s.foreign(bin, "-n", "-o", "import="+file, torrent))
	s.awaitPort(p, host, port)
	return &foreign{p, net.JoinHostPort(host, itoa(port))}
}

func runQbittorrent(s *sandbox, torrent, dir string) *foreign {
	s.t.Helper()
	bin := need(s.t, "qbittorrent-nox")
	host, port := s.freeAddr()
	web := port + 1 // it cannot do without
	encryption := 0 // as they like it
	if s.encryption == "required" {
		encryption = 1
	}
	home := s.mkdir("qbittorrent" + itoa(port))
	s.write(filepath.Join(filepath.Base(home), "qBittorrent/config/qBittorrent.conf"), fmt.Appendf(nil, `
[LegalNotice]
Accepted=true
[Preferences]
WebUI\Address=%s
WebUI\Port=%d
Connection\ResolvePeerCountries=false
[Network]
PortForwardingEnabled=false
[BitTorrent]
Session\InterfaceAddress=%[1]s
Session\Port=%[3]d
Session\BTProtocol=TCP
Session\Encryption=%d
Session\DHTEnabled=%t
Session\PeXEnabled=%t
Session\LSDEnabled=%t
Session\GlobalUPSpeedLimit=%d
Session\MultiConnectionsPerIp=true
Session\QueueingSystemEnabled=false
`, host, web, port, encryption, s.dht != nil, s.pex, s.lsd, s.upload))
	if s.dht != nil { // it begins with well-known nodes and those of torrents
		torrent = s.withNode(torrent, s.dht[0])
	}
	p := start(s.t, s.foreign(bin, "--profile="+home, "--save-path="+dir, "--skip-dialog=true", "--add-paused=false", torrent))
	s.awaitPort(p, host, port)
	return &foreign{p, net.JoinHostPort(host, itoa(port))}
}

// torrentFile is the content of a torrent; nil: it is a magnet link.
func (s *sandbox) torrentFile(torrent string) []byte {
	s.t.Helper()
	if strings.HasPrefix(torrent, "magnet:") {
		return nil
	}
	return readFile(s.t, torrent)
}

// foreign prepares a run of a client of others.
func (s *sandbox) foreign(name string, args ...string) *exec.Cmd {
	if s.in != nil {
		return s.command("nsenter", append([]string{"--net=" + s.in.path(), name}, args...)...)
	}
	return s.command(name, args...)
}

// awaitPort returns when a client accepts connections.
func (s *sandbox) awaitPort(p *process, host string, port int) {
	s.t.Helper()
	await(s.t, p.cmd.Args[0]+" listens", func() bool {
		if p.ended() {
			s.t.Fatalf("%s ended: %v\n%s", p.cmd.Args[0], p.err, p.out.String())
		}
		dial := func() error {
			conn, err := net.Dial("tcp", net.JoinHostPort(host, itoa(port)))
			if err == nil {
				conn.Close()
			}
			return err
		}
		if s.in != nil {
			return s.in.do(dial) == nil
		}
		return dial() == nil
	})
}

// opentracker reserves the place of a tracker, so that torrents can name it, which it
// has to know in turn: Debian's is built with a whitelist.
type opentracker struct {
	s    *sandbox
	host string
	port int
}

func newOpentracker(s *sandbox) *opentracker {
	s.t.Helper()
	need(s.t, "opentracker")
	host, port := freeAddr(s.t)
	return &opentracker{s, host, port}
}

// url is where it is announced to, by http or udp.
func (o *opentracker) url(scheme string) string {
	return scheme + "://" + net.JoinHostPort(o.host, itoa(o.port)) + "/announce"
}

// run tracks some torrents until the end of the test.
func (o *opentracker) run(torrents ...string) {
	o.s.t.Helper()
	var list strings.Builder
	list.WriteString(strings.Repeat("AA", 20) + "\n") // to try it with
	for _, f := range torrents {
		i := o.s.info(f)
		for _, hash := range []string{i.InfoHash, i.InfoHashV2} {
			if hash != "" {
				list.WriteString(strings.ToUpper(hash[:40]) + "\n")
			}
		}
	}
	dir := o.s.mkdir("opentracker") // becomes its root, with the rights of nobody
	o.s.write("opentracker/whitelist", []byte(list.String()))
	if err := os.Chmod(dir, 0o755); err != nil {
		o.s.t.Fatal(err)
	}
	args := []string{"-i", o.host, "-p", itoa(o.port), "-P", itoa(o.port), "-d", dir, "-w", "whitelist"}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "nobody")
	} else {
		args[len(args)-1] = filepath.Join(dir, "whitelist") // it cannot change its root then
	}
	o.s.awaitPort(start(o.s.t, o.s.command("opentracker", args...)), o.host, o.port)
	// It answers a little before it has read its list.
	probe := o.url("http") + "?info_hash=" + strings.Repeat("%AA", 20) + "&peer_id=-XX0000-123456789012&port=9&left=1"
	await(o.s.t, "a tracker that has its list", func() bool { return o.says(probe, "interval") })
}

// says reports whether the answer to a request has these words.
func (o *opentracker) says(url, words string) bool {
	o.s.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		o.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		o.s.t.Fatal(err)
	}
	return bytes.Contains(body, []byte(words))
}

// await returns when the tracker counts n peers of a torrent that have all of it
// ("complete") or not yet ("incomplete").
func (o *opentracker) await(torrent, kind string, n int) {
	o.s.t.Helper()
	hash, err := hex.DecodeString(o.s.info(torrent).InfoHash)
	if err != nil {
		o.s.t.Fatal(err)
	}
	url := strings.Replace(o.url("http"), "/announce", "/scrape?info_hash=", 1) + url.QueryEscape(string(hash))
	want := fmt.Sprintf("%d:%si%de", len(kind), kind, n)
	await(o.s.t, "a tracker that knows "+want, func() bool { return o.says(url, want) })
}

// info is what the program's info --json says, as far as tests need it.
type info struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	InfoHash    string     `json:"info_hash"`
	InfoHashV2  string     `json:"info_hash_v2"`
	Size        int64      `json:"size"`
	PieceLength int64      `json:"piece_length"`
	Pieces      int        `json:"pieces"`
	Private     bool       `json:"private"`
	Directory   bool       `json:"directory"`
	Comment     string     `json:"comment"`
	Trackers    [][]string `json:"trackers"`
	Files       []struct {
		Path   string `json:"path"`
		Length int64  `json:"length"`
	} `json:"files"`
}

func (s *sandbox) info(torrent string) (i info) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.qqbtfs("info", torrent, "--json")), &i); err != nil {
		s.t.Fatal(err)
	}
	return i
}
