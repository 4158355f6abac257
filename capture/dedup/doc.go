// Package dedup finds duplicate frames: a switch that mirrors several ports sends a
// frame once for each of the ports that it passes.
//
//	frames, stamps ─► Table.Mark ─► keep[i] = 0: frames[i] is a duplicate
//
// The table has Records records, in slots of Pools, after HPCAP's (thesis, 4.4). It
// holds no bytes of frames: those are in the store, which is the capture's stream.
//
//	         slot 0                     slot Records/Pools - 1
//	seen  | hash ns | ... x Pools |  ...  | hash ns | ...         searched
//	refs  | number  | ... x Pools |  ...  | number  | ...  ─────► Store.Stored: the frame
//
// A frame is a duplicate if its slot holds a record with its hash that is no older
// than Window, and the stored frame equals it: length, every byte, and the VLAN tag
// if the device stripped it. If the stored frame has been overwritten, nothing can be
// compared, and the frame is kept (Stats.Overwritten). So no frame is lost that is
// not in the store, whatever the hashes are. A record counts from its last copy, so
// that a third copy is compared with the second.
//
// # Frames stored in part
//
// With a snaplen or rules that cut, frames are compared whole all the same: the bytes
// that are stored with each other, and the others by a digest of the whole frame. Two
// different frames have equal digests with a probability of 2^-64; the sender cannot
// raise it, because the digest has a secret key (RFC 4418).
//
// # What may differ
//
// Config.Ignore names fields that a frame's way changes: tag, TTL and header checksum,
// checksums, addresses of Ethernet. Config.Bytes compares only the first bytes, as
// HPCAP does. Both drop frames that differ, and Config.Loses says which.
//
// # Which slot
//
// HPCAP uses the NIC's RSS hash, which costs nothing (IndexRSS). But the hash is the
// same for all frames of a flow, and frames that are not IP have none: with one pool
// a duplicate is missed whenever another frame of its flow came in between. With n
// queues the frames of one queue use 1/n of the slots, since the hash's low bits
// select the queue. The default, IndexContent, hashes what is compared. Then only
// equal frames share a slot, or those that collide by chance, and a few pools absorb
// the collisions. docs/DEDUP.md has the accuracy of both. A new frame replaces the
// slot's oldest record; with IndexContent, a duplicate the record that it repeats.
//
// A frame that a host sent twice within the window, bit for bit, is a duplicate like
// any other. A table is used by one goroutine, so copies in different queues are not
// found. Only New allocates memory.
package dedup
