// Package pcapfilter compiles the filter expressions of tcpdump, pcap-filter(7),
// for Ethernet frames, without libpcap.
//
// In goes an expression, out come a predicate on frames, and what a frame must have
// to match, for an index:
//
//	"tcp port 80" ─ scan ─ parse ─▶ conditions ─ lower ─▶ tests as a graph
//	                                    │                        │ optimize
//	                                  Needs                      └─ assemble ─▶ Match
//
// # Language
//
// That of libpcap 1.10, with its precedence ("and" and "or" bind alike, from left
// to right) and the qualifiers that a bare value takes over (host A or B):
//
//	[ip|ip6|arp|rarp] [src|dst|src or dst|src and dst] host A, net A/LEN, net A mask M
//	[tcp|udp|sctp] [src|dst|...] port P, portrange P-P       numbers or well-known names
//	ether [src|dst|...] host MAC, ether|ip broadcast, ether|ip|ip6 multicast
//	ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp
//	atalk aarp decnet lat sca moprc mopdl stp ipx netbeui llc [TYPE]
//	iso esis isis clnp l1 l2 iih lsp snp csnp psnp
//	proto N, ip proto N, ip6 proto N, ether proto N, iso proto N, isis proto N
//	vlan [N], mpls [N], pppoed, pppoes [N]     what follows looks behind that header
//	less N, greater N, byte N op M
//	ETHER[i], IP[i:size], len, numbers, + - * / % & | ^ << >> ( ) and = != < <= > >=
//	not ! and && or || ( )
//
// What it does not have is an error that says where, and what to write instead;
// never a filter that matches too much:
//
//   - names of hosts and networks: a capture tool asks no DNS;
//   - protochain, gateway, geneve, vxlan, addresses of DECnet, byte N & M;
//   - what is of other link layers or of live devices: inbound, ifindex, wlan types.
//
// Names of services and protocols are built in, with Debian's numbers, so that an
// expression means the same on every host. An expression that no frame can match
// is an error, as with libpcap.
//
// # Meaning
//
// That of the BPF program libpcap makes:
//
//   - a load beyond the bytes kept ends the filter without a match, also under
//     "not": not ether[2000] = 1 matches frames of more than 2000 bytes only;
//   - a division by zero does, too; numbers have 32 bits and no sign;
//   - ports are looked for in first fragments of IPv4, behind a header of the length
//     it claims, and right behind IPv6's header; extension headers are not walked,
//     but for one fragment header before "tcp" and its like;
//   - proto[i] includes that the frame is of the protocol, and tcp[i] and its like
//     mean IPv4; in a sum only the first operand's protocol is asked for;
//   - vlan, mpls and pppoes move all that stands to their right, in whichever
//     branch: (vlan and ip) or ip looks for tagged IP twice;
//   - a % b + c is a % (b + c): % and ^ have no precedence in libpcap's grammar;
//   - ip broadcast knows no mask, as tcpdump does when it reads a file: it is
//     0.0.0.0 and 255.255.255.255.
//
// In two places it is not libpcap's. libpcap's optimizer leaves out or moves loads
// as if they could not fail, and so matches some frames that end before a field
// which its unoptimized program reads; here every test is made in the order
// written, unless it has been made before or is by a known 0. And libpcap refuses
// ip[2:2] / ip[0], taking the index for the divisor; here it is compiled.
package pcapfilter
