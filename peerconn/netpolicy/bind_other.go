//go:build !linux

package netpolicy

import "golang.org/x/sys/unix"

// bindToDevice is not possible here: the source address has to do.
func bindToDevice(int, string) error { return unix.EPERM }

func choosePortLate(int) {}
