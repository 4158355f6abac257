// Package packet implements capture.Port over the kernel's packet sockets, for any
// Ethernet interface:
//
//	packet:eth0,sockets=2 ─► Open ─► Port ─► a socket with a TPACKET_V3 ring per Source
//
// Frames are delivered in the ring's memory, without a copy, under the kernel's stamps.
// The kernel gives frames in blocks, which Release gives back. VLAN tags that the kernel
// removed are restored in place, and super-frames are split into their segments. See
// packet(7), Documentation/networking/packet_mmap.rst and include/uapi/linux/if_packet.h
// of Linux, and docs/PORTS.md.
package packet
