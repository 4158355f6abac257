// Package wire holds what a port of the model can be plugged into.
//
// In go the options of a device's name ("pcap=FILE,rate=line"), out comes a
// Wire, from which the port's device thread takes the frames that have arrived:
//
//	pcap=FILE  ─┐ frames in one arena
//	gen        ─┴──> schedule at 10 GbE ──┐
//	NewPair    ────> two bounded queues ──┼──> Receive(frames, room) ──> port
//	packet=IFACE ──> packet socket ───────┘ <── Send(frame) <──────────
//
// # Time
//
// At 10 Gb/s a bit takes 0.1 ns exactly, so schedules are kept as whole tenths
// of a nanosecond, with a numerator of a fraction beside them where a rate does
// not divide evenly: nothing drifts, however long a wire runs. A frame takes
// (max(length, 60) + 24) x 8 bits: preamble 8 bytes, the frame padded to 60, CRC
// 4, gap 12 (IEEE 802.3, clauses 3 and 4.4.2). Times are those of the last bit.
//
// # Options
//
// One of these names the wire:
//
//	pcap=FILE      replay a pcap (µs or ns, either byte order) or pcapng file,
//	               of frames without CRC; of pcapng that is not checked
//	gen            generate frames
//	packet=IFACE   a network interface of this machine, live
//
// All wires:
//
//	hold           wait while the port's packet buffer is full, instead of
//	               overrunning it: for tests of content, not of speed
//
// pcap and gen:
//
//	rate=line      (default) back to back at 10 Gb/s
//	rate=14.88Mpps frames a second: pps, kpps, Mpps
//	rate=5Gbps     bits a second, preamble, CRC and gap counted, so that
//	               10Gbps is the line: bps, kbps, Mbps, Gbps
//	burst=32us     how much may be due at once before the wire calls the device
//	               thread late and shifts the schedule
//
// pcap:
//
//	rate=recorded  with the spacing of the file; where a pcapng file counts time in
//	               powers of two, fractions of a second are inexact
//	loop=N|forever rounds, 1 by default
//	cut=pad|skip   frames the capture truncated: fill with zeros, or leave out;
//	               without it such a file is refused
//
// gen:
//
//	size=60        bytes without CRC: one size, a range 60-1514, or imix
//	               (60, 590 and 1514 bytes, 7:4:1)
//	flows=N        distinct 5-tuples, 1 by default
//	count=N|forever frames, forever by default
//	proto=udp|tcp  udp by default
//	vlan=ID        an 802.1Q tag, 1-4094
//	seed=N         what sizes and payloads are drawn from, 1 by default
//
// # Network interfaces
//
// A packet wire shows frames as a cable would carry them. Linux hands a packet
// socket something else: checksums not yet filled in, tags taken out, and with
// TSO or GRO frames far over the MTU. The wire fills checksums in, puts tags
// back, and cuts TCP and UDP super-frames into their segments. Super-frames of
// tunnels cannot be had from the kernel: the wire counts them as unreadable, and
// `ethtool -K IFACE tso off gso off gro off` on both ends avoids them.
package wire
