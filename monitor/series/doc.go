// Package series counts the packets of a port by the second: packets and bytes of all, of
// each protocol and direction, and of named filter expressions, and active and new flows.
//
//	queue 0 ── Counter.Add ─┐                           ┌─► Store: rings of seconds,
//	queue 1 ── Counter.Add ─┼─► Recorder ── OnPoint ────┤   minutes, hours, days
//	queue 2 ── Counter.Add ─┘   closes seconds          ├─► Lines: HPCAP's files
//	                            in order                └─► alarms, a page, ...
//
// # Seconds
//
// Seconds are those of the stamps, UTC, aligned to the clock. A second stays open for
// Config.Delay after its end, since queues are not read at the same time. A packet is in the
// second of its stamp and in no other. What comes later is counted as Late in the second
// that is closed next, what is stamped far after the clock as Early, so that sums over
// points are the sums over all packets.
//
// A second without packets is a point with zeros. A second that was not recorded is missing
// (Point.Missing); readers get it, too. The first and the last second of a Recorder are
// partial: it began or ended within them.
//
// # Flows
//
// Active and new flows are read from a flow engine at the end of each second (Sources).
package series
