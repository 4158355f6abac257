// Package pcapfile writes and reads pcap and pcapng files, both with nanoseconds.
// Either may be compressed with zstd, in frames that can be unpacked one by one.
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
// zstd's contrib/seekable_format). The skippable frame before it is private: it has
// the stamp of each frame's first packet, and the number of its packets. Every
// program that unpacks zstd skips both. A file that is cut has neither; Open finds
// its frames by their headers, and it unpacks up to the cut.
//
// Pcapng follows the IETF's draft-ietf-opsawg-pcapng: one section of unknown
// length, interfaces of Ethernet frames.
package pcapfile
