// Package dedup finds duplicate frames: a switch that mirrors several ports sends a
// frame once for each of the ports that it passes.
//
//	frames, stamps ─► Table.Mark ─► dup[i]: frames[i] is a duplicate
//
// The table is HPCAP's (thesis, 4.4): Records records, in slots of Pools.
//
//	          slot 0                              slot Records/Pools - 1
//	heads    | ns check | ns check | ... x Pools |  ...  | ns check | ns check | ...
//	bodies   | key, first Bytes bytes | ...      |  ...  | key, first Bytes bytes | ...
//
// A frame is a duplicate if its slot holds a record of the same length and the
// same first min(length, Bytes) bytes, no older than Window. Every frame is stored,
// duplicate or not, so that a third copy is compared with the second: it replaces
// the slot's oldest record, or, with IndexContent, the record that it repeats.
//
// # Which slot
//
// HPCAP uses the NIC's RSS hash, which costs nothing (IndexRSS). But the hash is the
// same for all frames of a flow, and frames that are not IP have none: with one pool
// a duplicate is missed whenever another frame of its flow came in between. With n
// queues the frames of one queue use 1/n of the slots, since the hash's low bits
// select the queue. The default, IndexContent, hashes length and first bytes. Then
// only equal frames share a slot, or those that collide by chance, and a few pools
// absorb the collisions. docs/DEDUP.md has the accuracy of both.
//
// # What is compared
//
// Length, first bytes, and the VLAN tag if the device stripped it from the frame. A
// copy with another tag or TTL is another frame. Two frames that differ only after
// the first Bytes bytes count as equal, and the second is lost; 96 bytes hold a tag,
// IPv6, and TCP with timestamps. HPCAP's 70 bytes end before the TCP checksum of
// IPv6, so retransmissions count as duplicates.
//
// A frame that a host sent twice within the window, bit for bit, is a duplicate like
// any other.
//
// A table is used by one goroutine. Only New allocates memory.
package dedup
