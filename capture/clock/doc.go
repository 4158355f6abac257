// Package clock stamps frames: nanoseconds of CLOCK_REALTIME, derived from the
// processor's time-stamp counter because asking the kernel for every frame costs
// too much.
//
//	CLOCK_REALTIME ─┐ samples            published line                one per queue
//	                ├────────► Clock ──► ns = ns0 + (t-t0)*rate ──► Stamper.Stamp ──► sec, nsec
//	counter ────────┘ (goroutine)                                       ▲
//	   └──────────────────────────────────────────── t ─────────────────┘
//
// A goroutine measures counter and kernel clock against each other, keeping of
// many tries the one that took least time, and publishes a new line a few times
// a second. The line never jumps back: when it is ahead of the kernel's clock it
// runs slower until the two agree, at half speed at most, so that stamps remain
// distinct even after somebody set the clock back. When it is behind by more
// than can be made up until the next fit, it jumps forward.
//
// A Policy says which frames of a batch get their stamp from the clock, and how
// those of the others are made (Stamper.Batch): UDTS and WDTS of the HPCAP thesis
// (equations 4.3 and 4.4), and one of our own. docs/TIMESTAMPS.md has what they
// are worth.
//
// The counter is used where it ticks at a constant rate (invariant TSC on
// amd64, the generic timer on arm64); elsewhere every stamp asks the kernel.
package clock
