package fetch

import "golang.org/x/sys/unix"

const clockWithSuspend, clockWithoutSuspend = unix.CLOCK_MONOTONIC, unix.CLOCK_UPTIME_RAW
