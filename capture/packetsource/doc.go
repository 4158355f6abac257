// Package packetsource reads a stream packet by packet, filtered, and as a source of
// github.com/gopacket/gopacket.
//
//	stream.Listener ─► filter (pcap expression) ─► Packets             (a loop)
//	                                            ─► Next                (a call)
//	                                            ─► ReadPacketData      (gopacket, a copy)
//	                                            ─► ZeroCopyReadPacketData
package packetsource
