package sched

import "golang.org/x/sys/unix"

// usage holds the kernel's counters of a thread.
type usage struct {
	counted bool   // preempted and blocked are known
	timed   bool   // waited is known
	waited  uint64 // ns on a run queue
	// involuntary and voluntary context switches
	preempted, blocked uint64
}

// threadUsage reads the usage of the thread that opened it. It does not allocate.
type threadUsage struct {
	file   int // /proc/thread-self/schedstat; 0 or -1: not open
	text   [64]byte
	rusage unix.Rusage
}

func (t *threadUsage) open() {
	var err error
	if t.file, err = unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.file = -1 // a kernel without CONFIG_SCHED_INFO, or no /proc
	}
}

func (t *threadUsage) close() {
	if t.file > 0 {
		_ = unix.Close(t.file)
	}
	t.file = -1
}

func (t *threadUsage) read() (u usage) {
	if threadRusage(&t.rusage) {
		u.counted = true
		u.preempted, u.blocked = uint64(t.rusage.Nivcsw), uint64(t.rusage.Nvcsw)
	}
	if t.file <= 0 {
		return u
	}
	var ran uint64
	ran, u.waited = schedstat(t.text[:readStart(t.file, t.text[:])])
	u.timed = ran != 0 // all zeros: the kernel was booted with schedstats disabled
	return u
}

// schedstat parses "ran waited slices", the first two in ns.
func schedstat(text []byte) (ran, waited uint64) {
	field := 0
	for _, c := range text {
		switch {
		case c < '0' || c > '9':
			field++
		case field == 0:
			ran = ran*10 + uint64(c-'0')
		case field == 1:
			waited = waited*10 + uint64(c-'0')
		}
	}
	return ran, waited
}
