// Package pcapfile writes and reads files of packets: pcap and pcapng, both with
// nanoseconds, and either of them compressed with zstd so that it can be searched
// without unpacking it whole.
//
//	Packet ── Encoder ──► pcap    header | packet | packet | ...
//	                      pcapng  section header | interface | packet | ... | statistics
//	                        │
//	                        │ Compressor: each part holds whole packets only
//	                        ▼
//	               zstd   [header] [packets] [packets] ... [statistics] (times) (seek table)
//	                      └──── frames, each can be unpacked alone ───┘ └─ skippable frames ─┘
//
// The seek table at the end is that of zstd's seekable format (version 0.1.0 in
// zstd's contrib/seekable_format). The skippable frame before it is ours: when the
// first packet of each frame was captured, and how many there are. Every program
// that unpacks zstd skips both. A file that is cut has neither, and the frames are
// found by their headers; it still unpacks up to the cut.
//
// Pcapng is that of the IETF's draft-ietf-opsawg-pcapng: one section of unknown
// length, one interface of Ethernet frames.
package pcapfile
