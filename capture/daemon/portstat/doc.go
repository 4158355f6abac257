// Package portstat shows the counters of a port's device: totals, rates, and the text
// format of Prometheus.
//
//	running capture ─► control socket ─┐
//	driver of the kernel ─► ethtool ───┴─► Source.Read ─► Meter.Sample ─► Report
//
// Two processes cannot drive one port, and most counters of an 82599 are cleared by
// reading: so those of a port that is captured come from the capture.
package portstat
