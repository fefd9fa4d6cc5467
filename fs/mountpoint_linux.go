package fs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare checks that we can mount at dir and clears our own dead mounts from it. It
// returns dir as the kernel will list it.
func prepare(dir string, opt Options) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", err
	}
	if err := clearAll(path); err != nil {
		return "", err
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("fs: the mount point %s does not exist: create the directory first", path)
	case errors.Is(err, unix.ENOTCONN):
		return "", fmt.Errorf("fs: %s is the dead mount of another file system: unmount it first", path)
	case err != nil:
		return "", fmt.Errorf("fs: mount point: %w", err)
	case !st.IsDir():
		return "", fmt.Errorf("fs: the mount point %s is not a directory", path)
	}
	if os.Geteuid() != 0 {
		if err := checkPlainUser(path, opt, "/etc/fuse.conf"); err != nil {
			return "", err
		}
	}
	if f, err := os.Open(path); err == nil {
		if names, _ := f.Readdirnames(1); len(names) > 0 {
			opt.Logger.Warn("the mount point is not empty: what is in it is hidden while mounted", "dir", path)
		}
		f.Close()
	}
	return path, nil
}

// clearAll clears dead mounts of ours from dir. One that lives is an error.
func clearAll(dir string) error {
	for range 16 { // they can lie upon each other
		if _, ok := mountedAt(dir); !ok {
			return nil
		}
		cleared, err := ClearStale(dir)
		if err != nil {
			return err
		}
		if !cleared {
			break
		}
	}
	return fmt.Errorf(`fs: %s is mounted by a running qqbtfs already: end that with "qqbtfs umount %s" first`, dir, dir)
}

// checkPlainUser says what fusermount3 would refuse, in words that help.
func checkPlainUser(dir string, opt Options, conf string) error {
	if unix.Access(dir, unix.W_OK) != nil {
		return fmt.Errorf("fs: you may not write to the mount point %s: a plain user can only mount at a directory of their own", dir)
	}
	if opt.AllowOther && !userAllowOther(conf) {
		return fmt.Errorf("fs: to let other users in as a plain user, %s needs a line that says user_allow_other", conf)
	}
	return nil
}

func userAllowOther(conf string) bool {
	f, err := os.Open(conf)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}

// resolve returns dir absolute and without symbolic links, as the kernel lists it,
// and does not touch dir itself where one of our mounts is: it may be dead.
func resolve(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("fs: mount point: %w", err)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("fs: mount point %s: %w", path, err)
	}
	path = filepath.Join(parent, filepath.Base(path))
	if _, ok := mountedAt(path); ok {
		return path, nil
	}
	if st, err := os.Lstat(path); err != nil || st.Mode()&os.ModeSymlink == 0 {
		return path, nil // a missing directory is the caller's to report
	}
	target, err := os.Readlink(path)
	if err != nil {
		return "", fmt.Errorf("fs: mount point: %w", err)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(parent, target)
	}
	if target == path {
		return "", fmt.Errorf("fs: mount point %s: %w", path, unix.ELOOP)
	}
	return filepath.EvalSymlinks(target)
}
