package node

// #include <stdint.h>
// #include <time.h>
//
// static int64_t boottime(void) {
//     struct timespec t;
//     clock_gettime(CLOCK_BOOTTIME, &t); // cannot fail: the kernel has had this clock since 2.6.39
//     return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
// }
import "C"

import "guillotina_groupcache/internal/coherence"

// now reads a clock that is monotonic and counts while the machine is suspended (R2); Python reads the
// same one as CLOCK_BOOTTIME. Every hit reads it. Go can read this clock only by a system call, which
// takes seven times as long as this call into C.
func now() coherence.Time { return coherence.Time(C.boottime()) }
