// Package dedup finds frames that were captured before: a switch that mirrors
// several ports hands a frame over once for each of them it passes.
//
// In go frames and their stamps, out comes which of them are duplicates. The
// table is HPCAP's (thesis, 4.4): Records records, in slots of Pools.
//
//	          slot 0                              slot Records/Pools - 1
//	heads    | ns check | ns check | ... x Pools |  ...  | ns check | ns check | ...
//	bodies   | key, first Bytes bytes | ...      |  ...  | key, first Bytes bytes | ...
//
// A frame is a duplicate if its slot holds a record of the same length and the
// same first min(length, Bytes) bytes, no older than Window. Duplicate or not, it
// is remembered, so that a third copy is compared with the second: it replaces the
// slot's oldest record, or, with IndexContent, the one that it repeats.
//
// # Which slot
//
// HPCAP takes the NIC's RSS hash, which costs nothing (IndexRSS). But it is the
// same for all frames of a flow, and frames that are not IP have none: with one
// pool a duplicate is missed whenever another frame of its flow came in between,
// and with n queues those of one share 1/n of the slots, since the hash's low bits
// chose the queue. So the default, IndexContent, hashes length and first bytes.
// Only frames that are equal, or collide by chance, meet, and a few pools absorb
// the collisions. docs/DEDUP.md has the accuracy of both.
//
// # What is compared
//
// Length, first bytes, and the VLAN tag where the device took it out of the frame.
// So a copy with another tag or TTL is another frame. Two frames that differ only
// behind the first Bytes bytes count as equal, and the second is lost; 96 bytes hold
// a tag, IPv6, and TCP with timestamps. HPCAP's 70 end before IPv6's TCP checksum,
// and take retransmissions for duplicates.
//
// A frame that was really sent twice within the window, bit for bit, is a duplicate
// like any other: nobody can tell.
//
// A table is used by one goroutine. It is allocated and touched by New, never later.
package dedup
