// Package convert turns RAW records into pcap and pcapng packets and back.
//
//	RAW files -- rawfile.Reader --> Record --> Writer --> pcap | pcapng (ns)
//	RAW files <-- rawfile.Writer -- Record <-- Reader <-- pcap | pcapng
//
// Nothing of a record is lost on the way to either format: both keep
// nanoseconds, the length on the wire and the bytes captured. The other way the
// RAW format sets limits: Ethernet frames only, of at most 65535 bytes, stamped
// between 1970 (exclusive) and 2106.
package convert
