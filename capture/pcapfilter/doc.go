// Package pcapfilter compiles the filter expressions of tcpdump, pcap-filter(7),
// for Ethernet frames, without libpcap.
//
// A Filter is a predicate on frames, and Needs says what a frame must have to match,
// for an index. A Classifier finds the first of several filters that matches, for a
// batch of frames:
//
//	"tcp port 80" ─ scan ─ parse ─▶ conditions ─ lower ─▶ graph of tests
//	                                    │                      │ optimize
//	                                  Needs                    └─ assemble ─▶ Match
//	                                                                   │
//	filters of a list ─ lower, one behind the other ─ optimize ─ assemble ─▶ First, Classify
//
// # Language
//
// The language is that of libpcap 1.10, and of 1.11 where that has more, with its
// precedence ("and" and "or" bind alike, from left to right) and the qualifiers that a
// bare value inherits (host A or B):
//
//	[ip|ip6|arp|rarp] [src|dst|src or dst|src and dst] host A, net A/LEN, net A mask M
//	[tcp|udp|sctp] [src|dst|...] port P, portrange P-P       numbers or well-known names
//	ether [src|dst|...] host MAC, ether|ip broadcast, ether|ip|ip6 multicast
//	decnet [src|dst|...] host AREA.NODE
//	ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp
//	atalk aarp decnet lat sca moprc mopdl stp ipx netbeui llc [TYPE]
//	iso esis isis clnp l1 l2 iih lsp snp csnp psnp
//	proto N, ip proto N, ip6 proto N, ether proto N, iso proto N, isis proto N
//	[ip|ip6] protochain N                      the headers behind IP's, up to 64
//	vlan [N], mpls [N], pppoed, pppoes [N]     what follows reads behind that header
//	geneve [N], vxlan [N]                      what follows reads the packet inside
//	less N, greater N, byte N op M             op is one of = < > & |
//	inner (EXPRESSION)                         of a packet inside; not in libpcap
//	ETHER[i], IP[i:size], len, numbers, + - * / % & | ^ << >> ( ) and = != < <= > >=
//	not ! and && or || ( )
//
// Anything else is an error that says where, and what to write instead; never a
// filter that matches too much:
//
//   - names of hosts and networks: a capture tool uses no DNS;
//   - gateway, which needs such names;
//   - words for other link layers or for live devices: inbound, ifindex, wlan types.
//
// Names of services and protocols are built in, with Debian's numbers, so that an
// expression means the same on every host. An expression that no frame can match
// is an error, as with libpcap.
//
// # Meaning
//
// The meaning is that of the BPF program that libpcap makes:
//
//   - a load beyond the captured bytes ends the filter without a match, also under
//     "not": not ether[2000] = 1 matches only frames of more than 2000 bytes;
//   - a division by zero does, too; numbers have 32 bits and no sign;
//   - ports are read in first fragments of IPv4, behind a header of the length that
//     it claims, and right behind IPv6's header; extension headers are not walked,
//     except one fragment header before "tcp" and the like;
//   - proto[i] implies that the frame is of the protocol, and tcp[i] and the like
//     imply IPv4; in a sum only the first operand's protocol is tested;
//   - vlan, mpls and pppoes move all that stands to their right, in every branch:
//     (vlan and ip) or ip tests for tagged IP twice;
//   - geneve is UDP to port 6081 with version 0, vxlan UDP to port 4789 with flags 8;
//     behind IPv4's and IPv6's header of any length, behind tags too (vlan and vxlan);
//     Geneve may carry IP without an Ethernet header, then conditions on Ethernet
//     addresses do not match;
//   - a % b + c is a % (b + c): % and ^ have no precedence in libpcap's grammar;
//   - ip broadcast has no mask, as when tcpdump reads a file: it is 0.0.0.0 and
//     255.255.255.255.
//
// # Packets inside
//
// inner (EXPRESSION) matches a frame if the expression matches a packet that is inside
// it: behind a VLAN tag, MPLS labels, PPPoE, IP in IP, GRE (with ERSPAN), VXLAN, Geneve
// or GTP-U, and in these again, to any depth within the limits below. It is not part of
// libpcap's language. The frame itself is not inside:
//
//	inner (tcp port 80)                  tagged or tunnelled web traffic
//	host A or inner (host A)             A wherever it is
//	not inner (tcp)                      no packet inside is of TCP
//	inner (not tcp)                      a packet inside is of something else
//	inner (tcp and host A)               both of one packet; inner (tcp) and inner
//	                                     (host A) may be of two
//	vxlan 7 and inner (host A)           A inside, and the frame is of network 7
//
// A packet behind a tag is the frame without the tag: Ethernet addresses and further
// tags are those of the frame. Behind GRE and the like a packet has no Ethernet header,
// unless the tunnel carries frames; then conditions on Ethernet fields do not match.
// len, less and greater count from the packet's start to the frame's end. A packet that
// ends before a field that is read does not match; the others are tried.
//
// Tunnels are known by the destination port, UDP 4789, 6081 and 2152, and by their
// headers' version and flags. What is behind MPLS is IP by its version, or a frame of
// Ethernet, with a control word if its first two bytes are 0. The walk ends at a header
// that is malformed or cut, at a later fragment, at a fifth tag in a row, and after 64
// headers, 16 packets or 1024 bytes. What inner needs is not known to an index:
// "udp port 4789 and inner (host A)" is found faster than "inner (host A)".
//
// # Differences
//
// It differs from libpcap in a few places:
//
//   - libpcap's optimizer removes or moves loads as if they could not fail, and so
//     matches some frames that end before a field which its unoptimized program reads;
//     here every test is made in the order written, unless it has been made before or
//     has a known 0 as operand;
//   - libpcap refuses ip[2:2] / ip[0], because it takes the index for the divisor;
//     here it compiles;
//   - in libpcap, what stands to the right of geneve or vxlan reads memory that is not
//     set in frames that are none: geneve or tcp. Here that is an error;
//   - libpcap reads what a tunnel behind mpls carries as if labels preceded it; here
//     the tunnel ends the labels;
//   - libpcap's protochain loses its place behind an authentication header; here it goes
//     on behind it, and ends after 64 headers;
//   - libpcap 1.10 does not read the byte of byte N & M and byte N | M; here it is
//     read, as in 1.11.
package pcapfilter
