package node

import (
	"golang.org/x/sys/unix"

	"guillotina_groupcache/internal/coherence"
)

// now reads a clock that is monotonic and counts while the machine is suspended (R2); Python
// reads the same one as CLOCK_BOOTTIME.
func now() coherence.Time {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // the kernel has had this clock since 2.6.39
	}
	return coherence.Time(t.Nano())
}
