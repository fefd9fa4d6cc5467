package netpolicy

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bindToDevice needs a right for it before Linux 5.7 only: EPERM.
func bindToDevice(fd int, device string) error {
	if device == "" {
		return nil
	}
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device); err != nil {
		return fmt.Errorf("bind to interface %s: %w", device, err)
	}
	return nil
}

// choosePortLate has the port chosen on connecting, so that connections to different
// peers may share one.
func choosePortLate(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
}
