// Package pcapstore stores a capture stream packet by packet in pcap or pcapng
// files, which may be compressed with zstd: what HPCAP's hpcapdd_p does. It can
// leave out packets by a filter and cut them. Package store is faster and looks at
// no packet.
//
//	stream ── ReadBatch ──► filter, cut, encode ──► chunks of about 1 MiB ──► write ──► NAME.pcapng.zst.part
//	                                 │                   │        ▲             │ closed: statistics, tables
//	                          losses: comments           └ zstd ──┘             ▼
//	                          and drop counts           one frame each       NAME.pcapng.zst
//
// A chunk holds whole packets and becomes one frame, which can be unpacked alone
// (package pcapfile). Packets are copied once, as the stream's memory is given
// back before they are written; nothing is allocated per packet.
//
// A file ends when it is full, with the period that the stamp of its packets lies
// in, or on request. A failure to write does not end the storing: the file ends
// after its last whole packet, or frame, what cannot be stored is counted by
// cause, and about once a second another file is begun. Every packet is accounted
// for: read = written + filtered + failed.
package pcapstore
