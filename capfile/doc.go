// Package capfile reads the packets of capture files that any program wrote: pcap of
// all versions and pcapng, compressed or not, one after the other from an io.Reader.
//
//	bytes ─► gzip, zstd, lz4, bzip2 ─► pcap   header | record | record | ...
//	                                   pcapng section | interface | packet | ... | section | ...
//	                                     │
//	                                     ▼
//	         Options: which interfaces, FCS, strict ─► Next: Packet, Interface
//	                                     │
//	                                     └─► Counts: what was left out or changed, by cause
//
// Pcap: magics a1b2c3d4 (µs), a1b23c4d (ns), a1b2cd34 (records of 24 bytes, of patched
// Linux systems) and 1c0001ac and 1c0001ab (IXIA), both byte orders, versions 2.0 to
// 2.4 and 543.0. Pcapng: any number of sections of either byte order, interfaces of all
// resolutions and link types, enhanced, simple and obsolete packet blocks, statistics.
// Blocks without packets are skipped. The sources are draft-ietf-opsawg-pcap,
// draft-ietf-opsawg-pcapng and, for old pcap files, libpcap's behaviour.
//
// Stamps are exact, rounded down to a nanosecond. Damage of a packet that leaves its end
// known costs this packet only. Memory is bounded: by a block of maxBlock bytes, the
// window of the compression and maxNames bytes of interface names.
package capfile
