// Package clock stamps frames with nanoseconds of CLOCK_REALTIME. It derives them
// from the processor's time-stamp counter, because a call of the kernel for every
// frame costs too much.
//
//	CLOCK_REALTIME ─┐ samples            published line                one per queue
//	                ├────────► Clock ──► ns = ns0 + (t-t0)*rate ──► Stamper.Stamp ──► sec, nsec
//	counter ────────┘ (goroutine)                                       ▲
//	   └──────────────────────────────────────────── t ─────────────────┘
//
// A goroutine compares counter and kernel clock, keeps the fastest of several
// tries, and publishes a new line about twice a second. The line never jumps back:
// if it is ahead of the kernel's clock it runs slower until the two agree, at least
// at half speed, so that stamps remain distinct after the clock was set back. If it
// is too far behind to catch up before the next fit, it jumps forward.
//
// A Policy decides which frames of a batch get their stamp from the clock, and how
// the others are stamped (Stamper.Batch): UDTS and WDTS of the HPCAP thesis
// (equations 4.3 and 4.4), and Adaptive. docs/TIMESTAMPS.md has their accuracy.
//
// The counter is used where it ticks at a constant rate (invariant TSC on amd64,
// the generic timer on arm64); elsewhere every stamp calls the kernel.
package clock
