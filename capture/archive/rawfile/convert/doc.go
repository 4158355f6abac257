// Package convert converts RAW records to pcap and pcapng packets and back.
//
//	RAW files ── rawfile.Reader ──► Record ──► Writer ──► pcap | pcapng (ns)
//	RAW files ◄── rawfile.Writer ── Record ◄── Reader ◄── pcap | pcapng
//
// The conversion to pcap and pcapng keeps everything: nanoseconds, the length on
// the wire and the captured bytes. RAW has limits: Ethernet frames only, of at most
// 65535 bytes, stamped between 1970 (exclusive) and 2106.
package convert
