// Package probe marks generated frames, and tells from a capture of them what the network
// did: loss, reordering, duplicates, one-way delay and jitter.
//
// The first 18 bytes of the payload of UDP or TCP, for which the shortest frame of UDP over
// IPv4 has room,
// are the mark, in network byte order:
//
//	0  magic "ixp"  3  stream  4  sequence number (6 bytes)  10  time of sending (8 bytes)
//
// The time is CLOCK_REALTIME in ns. Sequence numbers begin with 0 in each stream.
package probe
