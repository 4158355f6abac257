// Package extract writes the packets of a query to pcap and pcapng files.
//
//	query.Packet ──► Writer ──► NAME.pcapng            one file, or by size, time or number of packets
//	                             │                       NAME-000000.pcapng, NAME-000001.pcapng, ...
//	                             ├ interface eth2:0    one for each port and queue whose packets the file has
//	                             ├ interface eth2:1
//	                             └ packets, with the number of those lost before, as far as it is known
//
// Pcap has no interfaces and no counts of lost packets.
package extract
