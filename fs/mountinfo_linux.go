package fs

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// MountPoint is one mount of a qqbtfs, alive or dead.
type MountPoint struct {
	Dir    string // absolute, without symbolic links
	Source string // Options.FSName
	Dev    string // major:minor
}

// Mounts lists the qqbtfs mounts that this process can see, in the order in which
// they were made. It does not touch them, so dead ones do no harm.
func Mounts() ([]MountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMountInfo(f)
}

// mountedAt finds the uppermost qqbtfs mount at a resolved directory.
func mountedAt(dir string) (MountPoint, bool) {
	mounts, err := Mounts()
	if err != nil {
		return MountPoint{}, false
	}
	for _, m := range slices.Backward(mounts) {
		if m.Dir == dir {
			return m, true
		}
	}
	return MountPoint{}, false
}

// parseMountInfo reads the format of proc(5), /proc/pid/mountinfo:
//
//	36 35 98:0 /root /mnt rw,noatime shared:1 - type source options
func parseMountInfo(r io.Reader) ([]MountPoint, error) {
	var mounts []MountPoint
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		at, what := strings.Fields(left), strings.Fields(right)
		if !ok || len(at) < 6 || len(what) < 2 || what[0] != "fuse."+subtype {
			continue
		}
		mounts = append(mounts, MountPoint{Dir: unescapeMount(at[4]), Dev: at[2], Source: unescapeMount(what[1])})
	}
	return mounts, lines.Err()
}

// unescapeMount undoes the \ooo by which the kernel writes blanks and backslashes.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
