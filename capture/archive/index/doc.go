// Package index finds packets in stored traffic without reading all of it. A
// sidecar beside each RAW file tells, for every 256 KiB of the file, when its
// records were captured and which addresses and ports they carry:
//
//	NAME.raw | record | record | record | reco|rd | record | ...        two blocks
//	           ▲                               ▲ first record that begins in the block
//	NAME.idx | header | entry of block 0       | entry of block 1 | ... | trailer |
//	                    offsets, times, frames,
//	                    addresses, ports, CRC
//
// In go the bytes of a RAW file, as they are stored (Builder), out come the bytes
// of its sidecar, a fraction of a percent of the data. Find takes folders of such
// files and gives the packets of a span of time that match a filter, merged in
// the order of time; it reads only the blocks that can hold one. Of a running
// capture it also takes what is in memory and not on disk yet (Query.Live).
//
// A sidecar is never needed and never trusted: a file without one is scanned, one
// that is cut is used as far as it goes, and one that does not belong to its file
// is noticed and left aside. It is a function of the file's bytes alone, so that
// Verify compares it with what Build makes of the file; Repair makes whatever a
// crash left a file that every reader of RAW files takes. What is believed are the
// names that package store gives, and that stamps of one queue never go backwards.
//
// What a block's entry says about addresses and ports is a superset: a block that
// it rules out holds no such frame; of the blocks it lets through about one in
// 500 is read in vain.
//
// Who reads, writes or deletes a file tells the others by flock: archive.LockShared,
// archive.LockExclusive.
package index
