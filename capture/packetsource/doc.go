// Package packetsource reads a stream packet by packet, filtered, and as a source of
// github.com/gopacket/gopacket.
//
//	stream.Listener ─► filter (pcap expression) ─► Packets             (a loop)
//	                                            ─► Next                (a call)
//	                                            ─► ReadPacketData      (gopacket, a copy)
//	                                            ─► ZeroCopyReadPacketData
//
// Merge reads the sources of several queues or ports in the order of stamps.
package packetsource
