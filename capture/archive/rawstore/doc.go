// Package rawstore writes a capture stream to RAW files, byte by byte, without
// decoding packets.
//
//	stream memory ── ReadBlock ──► queue ──► folder A: N writes at once, O_DIRECT ──► NAME.raw.part ── closed ──► NAME.raw
//	     ▲                           │   └─► folder B: N writes at once ...             │
//	     │                           └── written ─► indexer (index.Builder) ─────────► NAME.idx
//	     └──────── Consume ◄── written and indexed, in order
//
// One segment of the stream becomes one file. A full segment ends with padding
// from the stream, so its file has exactly the segment's size; a rotated one ends
// with padding up to the next MiB. The last file of a run ends after its last
// record with a padding record of length 0, as readers of RAW files expect. Each
// segment goes to the folder with the fewest waiting blocks, so that several disks
// write at once as far as the stream is deep.
//
// The kernel writes the blocks from the stream's memory, which is page aligned. A
// block is released to the producer only when it is written.
//
// A file has the suffix .raw.part, and is locked (flock), until it is closed. If
// the program is killed or the disk fails, the written part stays readable: bytes
// never written read as zeros, which is padding, or are beyond the file's end. With
// several writes in flight a file may have a hole (lseek, SEEK_HOLE). index.Repair
// cuts the file there.
//
// A write error ends its file after the last whole record. The storer consumes and
// counts the bytes that no folder takes, by errno. About once a second it tries
// again, at the start of a segment, which it requests (Config.Rotate).
//
// The sidecar of a file (package index) is made while the file is written. It never
// delays the writing: where the indexer is too slow for the traffic, the file's
// sidecar is left out, and made when there is less to write.
package rawstore
