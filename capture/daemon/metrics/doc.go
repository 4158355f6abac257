// Package metrics exports captures to Prometheus: every counter of the ledger, the
// fill of buffers, the lag of listeners, write latencies, and retention.
//
//	Engine, Stream ─────┐
//	Recorder ───────────┼─ read at each scrape ─► Collector ─► Handler ─► http://ADDRESS/metrics
//	Cleaner (retention) ┘
//
// Names begin with ixcap_ and follow Prometheus' conventions: base units (seconds,
// bytes), _total for what only grows. Labels name the port, its queue, and what a
// counter is split by. The receive path is not involved.
//
// Other processes choose the names of their listeners, so a listener's name is the
// value of a label only. Detached listeners are summed up for each queue.
package metrics
