// Package pcapstore writes a capture stream packet by packet to pcap or pcapng
// files, which may be compressed with zstd, as HPCAP's hpcapdd_p does. It can filter
// and cut packets. Package rawstore is faster: it does not decode packets.
//
//	stream ── ReadBatch ──► packer: filter, cut, encode ──► chunks of about 1 MiB ──► writer ──► NAME.pcapng.zst.part
//	                                 │                            │        ▲                        │ closed: statistics, tables
//	                          losses: comments                    └ zstd ──┘                        ▼
//	                          and drop counts                    one frame each                  NAME.pcapng.zst
//
// A chunk has whole packets and becomes one zstd frame, which can be unpacked alone
// (package pcapfile). Packets are copied once: the stream's memory is released
// before they are written. Nothing is allocated per packet.
//
// A file ends when it is full, with the period of its packets' stamps, or on
// request. A write error ends its file after the last whole packet or zstd frame.
// Packets that cannot be stored are counted by errno, and about once a second
// another file is begun. Every packet is accounted for: read = written + filtered +
// failed.
package pcapstore
