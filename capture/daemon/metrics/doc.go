// Package metrics shows captures to Prometheus: every counter of the ledger, how
// full the buffers are, how far listeners are behind, how long writes take, and
// what retention deletes.
//
//	Collector (ports, retention) ◄── scrape ── Handler ◄── http://ADDRESS/metrics ── Prometheus
//
// Names begin with ixcap_ and follow Prometheus' conventions: base units (seconds,
// bytes), _total for what only grows. Labels name the port, its queue, and what a
// counter is split by. Everything is read when it is scraped; the receive path has
// no part in it.
//
// Listeners of other processes choose their names, so a name is a label's value
// and never more than that. Those that have left are summed up per queue.
package metrics
