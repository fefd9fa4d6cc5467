package fetch

import "golang.org/x/sys/unix"

const clockWithSuspend, clockWithoutSuspend = unix.CLOCK_BOOTTIME, unix.CLOCK_MONOTONIC
