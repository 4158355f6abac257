// Package store writes a capture stream to RAW files, byte by byte, without
// looking at packets.
//
//	stream memory ── ReadBlock ──► blocks ──► folder A: N written at once, O_DIRECT ──► NAME.raw.part ── closed ──► NAME.raw
//	     ▲                           │    └─► folder B: N written at once ...              │
//	     │                           └── written ─► index.Builder ────────────────────► NAME.idx
//	     └──────── Consume ◄── written and indexed, in order
//
// One segment of the stream becomes one file. Full segments end with the padding
// that the stream put there, so their files have exactly the segment's size; those
// that were rotated end with padding up to the next MiB. The last file of a run
// ends after its last record, with a padding record of length 0, as readers of RAW
// files expect. Segments go to the folders in turn, each to the one with the least
// to write, so that several disks write at once as far as the stream is deep.
//
// Blocks go to the kernel from the stream's own memory, which is page aligned,
// and are given back to the producer only once they are written.
//
// A file has a temporary name, ending in .raw.part, until it is closed, and is
// locked (flock) for as long. Whatever happens to the program or the disk, what
// was written of it can be read: bytes never written read as zeros, which is
// padding, or are beyond the file's end. Where several writes were in flight there
// may be a hole (lseek, SEEK_HOLE), up to which the file counts: index.Repair cuts it
// there.
//
// A write that fails ends its file after its last whole record, and nothing else:
// bytes that no folder takes are consumed and counted, by errno, and storing is
// tried again about once a second, at the start of a segment, which the Storer
// asks for (Config.Rotate).
//
// The sidecar of a file (package index) is made beside the writing. It never holds
// the writing back: where the index is too slow for the traffic, the file's is
// left out, and made when there is less to do.
package store
