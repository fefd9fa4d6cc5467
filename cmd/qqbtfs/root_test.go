package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
)

// Wrong use and wrong settings end with their code and one line that says what
// and where.
func TestUsageErrors(t *testing.T) {
	dir := home(t)
	torrent := writeTestFile(t, filepath.Join(dir, "a.torrent"), []byte("d"))
	seed := "seed --data " + dir + "/tiny " + writeTestFile(t, filepath.Join(dir, "tiny.torrent"), tinyTorrent(t, "tiny"))
	writeTestFile(t, filepath.Join(dir, "tiny", "run.sh"), nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := taken.Addr().String()
	for _, c := range []struct {
		name, args string
		code       code
		want       string
	}{
		{"unknown command", "mout", codeUsage, `there is no command "mout" (did you mean mount`},
		{"a torrent as command", "a.torrent", codeUsage, "qqbtfs mount a.torrent MOUNTPOINT"},
		{"unknown flag", "mount --nope x y", codeUsage, "unknown flag: --nope (see: qqbtfs mount --help)"},
		{"bad value", "mount --download-limit fast x y", codeUsage, "2MB/s"},
		{"bad choice", "mount --fill some x y", codeUsage, "all, none"},
		{"bad peer", "get --peer nowhere x", codeUsage, "HOST:PORT"},
		{"bad listen", "get --listen 99999 x", codeUsage, "HOST:PORT"},
		{"no peers", "get --max-peers 0 x", codeUsage, "--max-peers 0"},
		{"bad umask", "mount --umask 999 x y", codeUsage, "octal"},
		{"bad uid", "mount --uid -7 x y", codeUsage, "--uid -7"},
		{"no source", "mount", codeUsage, "SOURCE and a MOUNTPOINT"},
		{"no mount point", "mount a.torrent", codeUsage, "MOUNTPOINT after a.torrent"},
		{"cut URL", "mount http://h/?a=1", codeUsage, "unquoted &"},
		{"cut magnet", "mount magnet:?xt=urn:btih:00", codeUsage, "unquoted &"},
		{"no torrent to seed", "seed", codeUsage, "needs a SOURCE"},
		{"tracker without address", seed + " --with-tracker 192.0.2.1:0", codeFailure, "--with-tracker 192.0.2.1:0: this machine has no such address"},
		{"tracker on used port", seed + " --with-tracker " + used, codeFailure, "--with-tracker " + used + ": the port is in use: end the program"},
		{"bad switch", "mount --allow-other=maybe x y", codeUsage, `--allow-other: "maybe" is not true or false (see`},
		{"bad number", "mount --uid x a b", codeUsage, `--uid: "x" is not a whole number (see`},
		{"no mount point but two sources", "mount x " + torrent, codeUsage, "is a SOURCE"},
		{"tracker without port", seed + " --with-tracker foo", codeUsage, "--with-tracker foo: not of the form HOST:PORT"},
		{"listen elsewhere", "get -o " + dir + "/out --listen 192.0.2.1:0 " + dir + "/tiny.torrent", codeFailure, "no such address, choose one of its own with --listen"},
		{"get into a file", "get -o " + torrent + " x", codeDisk, "-o " + torrent + " is not a directory"},
		{"get below a file", "get -o " + torrent + "/x x", codeDisk, "/x is not a directory"},
		{"create into nowhere", "create -o /none/x.torrent " + torrent, codeDisk, "/none/x.torrent: the directory /none does not exist"},
		{"foreign URL", "info ftp://user:pw@x/y", codeSource, "ftp://x/y: only http and https URLs"},
		{"cut torrent", "info " + torrent, codeSource, "cut short, fetch it again"},
		{"cut magnet to look at", "info magnet:?xt=urn:btih:00", codeSource, "has 2 characters, not 40 (or 32 in base32) (the shell"},
		{"foreign magnet", "get magnet:?xt=urn:sha1:00&dn=x", codeSource, "names no torrent"},
		{"no such file", "info missing.torrent", codeSource, "missing.torrent: there is no such file"},
		{"directory", "info " + dir, codeSource, "is a directory"},
		{"garbage", "info " + torrent, codeSource, "not a valid torrent"},
		{"no such mount", "status /mnt/none", codeNoMount, "/mnt/none"},
		{"nothing to unmount", "umount /mnt/none", codeNoMount, "/mnt/none"},
		{"too many", "umount a b", codeUsage, `"b"`},
		{"missing config", "status --config /none", codeUsage, "/none"},
		{"no content", "create /none", codeDisk, "/none"},
		{"bad piece length", "create --piece-length 100k x", codeUsage, "power of two"},
		{"bad tracker", "create --tracker ftp://x x", codeUsage, "ftp://x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, strings.Fields(c.args)...)
			if r.code != c.code || !strings.Contains(r.err, c.want) {
				t.Errorf("code %d, %q; want %d and %q", r.code, r.err, c.code, c.want)
			}
			if strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "qqbtfs: ") {
				t.Errorf("not one line: %q", r.err)
			}
		})
	}
}

func TestEmptySource(t *testing.T) {
	home(t)
	if r := run(t, "info", ""); r.code != codeSource || !strings.Contains(r.err, "the SOURCE is empty") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}

func TestConfigFileIsRead(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, "config", "qqbtfs", "config")
	for _, c := range []struct {
		content, env string
		args         string
		code         code
		want         string
	}{
		{"cach-dir = /x\n", "", "status", codeUsage, file + ":1: cach-dir: unknown setting"},
		{"fill = some\n", "", "mount a b", codeUsage, file + ":1: fill: "},
		{"fill = some\n", "", "status", codeOK, ""}, // a setting of another command
		{"fill = some\n", "none", "mount none.torrent /mnt", codeSource, "none.torrent"},
		{"", "some", "mount a b", codeUsage, "QQBTFS_FILL: "},
		{"allow-other = maybe\n", "", "mount a b", codeUsage, file + `:1: allow-other: "maybe" is not true or false`},
		{"", "some", "mount --fill=all -f none.torrent /mnt", codeSource, "none.torrent"},
		{"nonsense!\n", "", "completion bash", codeOK, ""},
		{"config = /x\n", "", "status", codeUsage, file + ":1: config: unknown setting"},
	} {
		writeTestFile(t, file, []byte(c.content))
		t.Setenv("QQBTFS_FILL", c.env)
		args := strings.Fields(c.args)
		if args[0] == "mount" {
			args = append(args, "-f")
		}
		r := run(t, args...)
		if r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("config %q, environment %q, %s: code %d, %q; want %d and %q", c.content, c.env, c.args, r.code, r.err, c.code, c.want)
		}
	}
}

func TestMisspeltEnvironmentIsSaid(t *testing.T) {
	home(t)
	t.Setenv("QQBTFS_CACHEDIR", "/x")
	if r := run(t, "status"); r.code != codeOK || !strings.Contains(r.err, "QQBTFS_CACHEDIR") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}

// Every flag's help says something, and no two commands disagree about what a
// setting is.
func TestFlagsAreOneScheme(t *testing.T) {
	a := newApp(nil, nil)
	types := map[string]string{}
	root := a.rootCmd()
	for name := range settings(root) {
		for _, c := range root.Commands() {
			f := c.Flags().Lookup(name)
			if f == nil {
				continue
			}
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.Name(), name)
			}
			if other, seen := types[name]; seen && other != f.Value.Type() {
				t.Errorf("--%s is %s and %s", name, other, f.Value.Type())
			}
			types[name] = f.Value.Type()
		}
	}
	for _, name := range []string{"listen", "peer", "max-peers", "download-limit", "upload-limit", "read-timeout", "fill", "uid"} {
		if types[name] == "" {
			t.Errorf("no flag --%s", name)
		}
	}
	if config.EnvName("download-limit") != "QQBTFS_DOWNLOAD_LIMIT" {
		t.Error("environment names changed")
	}
}

func TestHelpNamesEveryExitCode(t *testing.T) {
	home(t)
	r := run(t, "--help")
	for _, e := range exitCodes {
		if !strings.Contains(r.out, e.meaning) {
			t.Errorf("help does not say %q", e.meaning)
		}
	}
}

func TestVersion(t *testing.T) {
	home(t)
	flag, cmd := run(t, "--version"), run(t, "version")
	if flag != cmd || flag.code != codeOK || !strings.HasPrefix(flag.out, "qqbtfs "+programVersion()+" (") {
		t.Errorf("%+v and %+v", flag, cmd)
	}
}
