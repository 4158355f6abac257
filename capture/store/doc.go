// Package store writes a capture stream to RAW files, byte by byte, without
// looking at packets.
//
//	stream memory ── ReadBlock ──► 1 MiB blocks ── pwrite, several at once, O_DIRECT ──► NAME.raw.part
//	     ▲                              │                                                    │ closed: cut to its length, renamed
//	     └──────── Consume ◄── written ─┘                                                 NAME.raw
//
// One segment of the stream becomes one file. Full segments end with the padding
// that the stream put there, so their files have exactly the segment's size. The
// last file of a run ends after its last record, with a padding record of length
// 0, as readers of RAW files expect.
//
// Blocks go to the kernel from the stream's own memory, which is page aligned,
// and are given back to the producer only once they are written.
//
// A file has a temporary name, ending in .raw.part, until it is closed. Whatever
// happens to the program or the disk, what was written of it can be read: bytes
// never written read as zeros, which is padding, or are beyond the file's end.
package store
