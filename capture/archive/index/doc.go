// Package index builds, reads, verifies and repairs the indices of RAW files, with which
// package query finds packets without reading all of a file. An index is a sidecar file
// that describes, for every 256 KiB of its RAW file, the time range of the records and
// their addresses, ports and protocols:
//
//	NAME.raw | record | record | record | reco|rd | record | ...        two blocks
//	           │                               ▲ first record that begins in the block
//	           ▼ Builder
//	NAME.idx | header | entry of block 0       | entry of block 1 | ... | trailer |
//	                    offsets, times, frames,
//	                    addresses, ports, CRC
//	           │ Load, Fits
//	           ▼
//	Sidecar, Entry.May ──► package query
//
// The index takes a fraction of a percent of the data. It is a function of the file's
// bytes alone, so Verify compares it with the index that it builds from the file, and
// Repair can rebuild it at any time. Repair also completes what a crash has left, so
// that every reader of RAW files accepts the file.
//
// An index is optional and checked before use: a file without one is read completely,
// one that is cut is used as far as it goes, and one that does not belong to its file
// is detected (ErrStale) and ignored.
//
// The sets of addresses and ports of a block are supersets: a block that is ruled out
// has no such frame; of the blocks that are not, about one in 500 has none either.
//
// Files are locked as in package archive: readers share the lock, repair needs it
// exclusively.
package index
