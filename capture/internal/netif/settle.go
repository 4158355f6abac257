package netif

import (
	"time"

	"golang.org/x/sys/unix"
)

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h

// Settle returns once every processor has left the receive function of a driver, or of a
// packet socket, in which it may have been before: a filter or XDP program that was
// changed is then in force everywhere. membarrier(2) waits for a grace period of RCU, and
// each run of these functions is a read side of one.
func Settle() {
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); e != 0 {
		time.Sleep(20 * time.Millisecond) // nohz_full has no such call
	}
}
