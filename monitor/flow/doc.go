// Package flow computes flow records from the packets of a stream.
//
//	packets of a batch ──► headers ──► key, hash ──► bucket ──► entry ──► update
//	                                     prefetch ────┴─ prefetch ─┘        │
//	OnRecords ◄── records ◄── idle, active, FIN/RST, evicted, flushed ◄─────┘
//
// An Engine belongs to one goroutine and needs no lock: several queues have one each, with
// the symmetric RSS that keeps both directions of a flow in one queue, or the members of a
// fan-out group by hash do. All memory is allocated by New: a table of buckets of one cache
// line, entries of 448 bytes, short entries of 128 bytes.
//
// # What a flow is
//
// The key is addresses, ports, protocol and EtherType; VLANs if Config.VLAN, kind and number
// of the tunnel if Config.Tunnels follows one. Both directions are one flow unless
// Config.OneWay. Its opener is who sent the first packet, or for a SYN with ACK who gets it.
//
//   - Frames without IP, and with IP that is malformed, are flows by their MAC addresses and
//     EtherType, 0 for LLC and for frames too short for a header of Ethernet. So each frame
//     belongs to a flow, and the sums over all records are the frames and bytes of the stream.
//   - Fragments belong to the flow of their datagram's first one, which has the ports. Those
//     that come before it are a flow by their addresses, with ports 0.
//   - Ports of ICMP are as in NetFlow: the destination port is type * 256 + code. Of queries
//     (echo and so on) the source port is the identifier; an answer belongs to its query, so
//     its ports are those of the query, exchanged, unless Config.OneWay.
//
// # When it ends
//
// Packets alone decide where a flow ends, by the latest stamp so far ("now"): a packet begins
// a new flow of the same key if the last one is older than Idle, the first one older than
// Active, or the connection is closed (RST, or FIN of both directions) and the packet is a
// SYN or comes later than Linger. When a record is delivered depends on the expiry too, which
// is late by at most Idle/100.
//
// If the table is full, the flow that has been idle longest ends, to within that time.
//
// If fewer than an eighth of the entries are free, a flow begins as a short entry and
// gets an entry of its own with its second packet. A flood of flows of one packet then
// displaces the short entries of others, never the flows with more packets. Its records have
// all fields but the payload: see Record.Short.
//
// # Exactness
//
// Sums are integers, squares of times of 128 bits. Mean and standard deviation are computed
// from them when they are asked for, with no rounding before.
package flow
