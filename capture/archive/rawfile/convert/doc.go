// Package convert converts RAW records to pcap and pcapng packets and back.
//
//	RAW files ── rawfile.Reader ──► Record ──► Writer ──► pcap | pcapng (ns)
//	RAW files ◄── rawfile.Writer ── Record ◄── Reader ◄── capfile.Reader ◄── any capture file
//
// The conversion to pcap and pcapng keeps everything: nanoseconds, the length on
// the wire and the captured bytes. RAW has limits: Ethernet frames only, of at most
// 65535 bytes, stamped between 1970 (exclusive) and 2106. Packets beyond them are left
// out and counted by cause.
package convert
