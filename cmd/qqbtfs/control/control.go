// Package control lets a command talk to a running mount.
//
// Every mount listens on a unix socket of its own. The socket's name is a hash of
// the mount point, so that whoever knows the mount point finds it, and all live
// mounts of a user are a listing of one directory. The directory (0700) and the
// socket (0600) are the only access control, and they suffice: nobody but the
// owner and root can connect.
//
// A request is one line of JSON and so is its response; one connection can carry
// several. The server closes its connections last of all, so a client that asked
// for a stop knows by the end of the connection that the process has let go of
// everything.
//
// The package moves bytes: what an operation means is its Handler's business.
package control

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	suffix = ".sock"
	// maxRequest and maxResponse bound one line, in bytes.
	maxRequest  = 64 << 10
	maxResponse = 64 << 20
	// idle bounds how long a server waits for a request, and for a client to
	// take its response.
	idle = 10 * time.Second
	// maxConns bounds the connections served at once; more wait in the backlog.
	maxConns = 16
	// maxSocketName is what sun_path of a unix address can hold.
	maxSocketName = 103
)

// Request is what a client asks.
type Request struct {
	Op string `json:"op"`
}

// Response is the server's answer.
type Response struct {
	Error string          `json:"error,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// ErrNone is returned for a mount point that no live mount of this user serves.
var ErrNone = errors.New("no live qqbtfs mount")

// Dirs returns the directories that may hold sockets of this user, the preferred
// one first: $XDG_RUNTIME_DIR/qqbtfs, for root /run/qqbtfs, qqbtfs-UID where
// temporary files are, which needs neither, and run in the cache directory.
func Dirs(cacheDir string) []string {
	var dirs []string
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		dirs = append(dirs, filepath.Join(d, "qqbtfs"))
	}
	if os.Geteuid() == 0 {
		dirs = append(dirs, "/run/qqbtfs")
	}
	temp := filepath.Join(os.TempDir(), fmt.Sprintf("qqbtfs-%d", os.Geteuid()))
	return append(dirs, temp, filepath.Join(cacheDir, "run"))
}

// socketName returns the file name of the socket for the absolute path mountpoint.
func socketName(mountpoint string) string {
	sum := sha256.Sum256([]byte(mountpoint))
	return fmt.Sprintf("%x%s", sum[:8], suffix)
}

// MakeDir makes dir for the user alone, or checks that an existing one is: in a
// directory that all may write to, somebody else may have made it first.
func MakeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkDir(dir)
}

// checkDir reports why dir cannot be trusted with a socket.
func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case !ok || int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", dir)
	case fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to other users (mode %03o); chmod it to 700", dir, fi.Mode().Perm())
	}
	return nil
}

// socketsIn returns the paths of all sockets in dir; a directory that is missing
// or not to be trusted has none.
func socketsIn(dir string) []string {
	if checkDir(dir) != nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && e.Type()&fs.ModeSocket != 0 {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}
