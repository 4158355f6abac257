// Package sched diagnoses why a polling thread did not poll, and prepares such
// threads: cores, SCHED_FIFO, GOMAXPROCS.
//
//	poller thread                                  engine, once a second
//	  Observe(ns between two polls) ─► Histogram ───────────► Gaps (ledger)
//	  Begin, Polled, Attribute      ─► Monitor ─► worst gaps ► Reporter ─► log
//	        ▲  kernel: getrusage,                    │
//	        └─ /proc/thread-self/schedstat           └───────► Worst (ledger)
//	  Refresh ─► watchdog ◄─ Heartbeat (an ordinary goroutine)
//	  Load, Waited ──────────────────────────────────────► Reporter ─► Losses (ledger)
//	  cpu.stat of the control groups, /proc/stat ─────────────┘ frames missed, by cause
//
// A gap is the time between two polls. Each is counted. For one of LongGap or more
// the Monitor reads what the kernel counted for the thread, derives the cause, and
// compares the gap with the time for which descriptor ring and packet buffer can
// hold the arriving frames (the capacity).
//
// A Loss is the frames that the port missed between two reports. The Reporter judges
// its cause by the gaps and by what the pollers did (interval.judge), and keeps the
// evidence.
package sched
