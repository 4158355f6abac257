// Package wire has the wires of the model's ports. Parse makes a Wire of the options
// of a device's name ("pcap=FILE,rate=line"). The port's device thread receives the
// frames that have arrived from it and sends frames to it:
//
//	pcap=FILE  ─┐ frames in one arena
//	gen        ─┴──> schedule at 10 GbE ──┐
//	NewPair    ────> two bounded queues ──┼──> Receive(frames, room) ──> port
//	packet=IFACE ──> packet socket ───────┘ <── Send(frame) <──────────
//	sink       <── pcap file, or nothing  <──────────┘
//
// # Time
//
// At 10 Gb/s a bit takes exactly 0.1 ns. Schedules count whole tenths of a
// nanosecond, and the numerator of a fraction where a rate does not divide evenly,
// so they do not drift. A frame takes (max(length, 60) + 24) x 8 bits: preamble 8
// bytes, the frame padded to 60, CRC 4, gap 12 (IEEE 802.3, clauses 3 and 4.4.2).
// Times are those of the last bit. The port keeps the same time when it sends: a pair and
// a sink get each frame with the time at which it left the port (TimedSender).
//
// # Options
//
// One of these selects the wire:
//
//	pcap=FILE      replay the Ethernet frames of a capture file of any format that
//	               package capfile reads, compressed or not. CRCs that the file says
//	               it has are removed
//	gen            generate frames
//	packet=IFACE   a network interface of this machine
//	sink, sink=FILE a receiver: takes what the port sends, into a pcap file or not
//
// All wires:
//
//	backpressure   wait while the port's packet buffer is full instead of
//	               overrunning it: for tests of content, not of speed
//
// pcap and gen:
//
//	rate=line      (default) back to back at 10 Gb/s
//	rate=14.88Mpps frames a second: pps, kpps, Mpps
//	rate=5Gbps     bits a second, preamble, CRC and gap counted, so that
//	               10Gbps is the line: bps, kbps, Mbps, Gbps
//	burst=32us     wire time that may be due at once; if more is due, the device
//	               thread is late and the schedule is delayed
//
// pcap:
//
//	rate=recorded  spacing of the file
//	loop=N|forever rounds, 1 by default
//	cut=pad|skip   truncated frames: pad with zeros, or skip; without it a file
//	               with such frames is refused
//	interface=NAME replay one interface of the file: its name, or its number from 0
//	fcs=file       frames that have a CRC in the file have that one on the wire, right
//	               or wrong, and are not padded: bad frames can be replayed
//	other=skip     skip packets that a port cannot carry: of other link types,
//	               damaged; without it a file with such packets is refused
//
// gen:
//
//	size=60        bytes without CRC: one size, a range 60-1514, or imix
//	               (60, 590 and 1514 bytes, 7:4:1)
//	flows=N        distinct 5-tuples, 1 by default
//	count=N|forever frames, forever by default
//	proto=udp|tcp  udp by default
//	vlan=ID        an 802.1Q tag, 1-4094
//	seed=N         seed of random sizes and payloads, 1 by default
//
// # Network interfaces
//
// A packet wire delivers frames as a cable carries them. A packet socket of Linux
// delivers partial checksums, frames without their VLAN tags, and with TSO or GRO
// frames far over the MTU. The wire completes checksums, restores tags, and cuts TCP
// and UDP super-frames into their segments. The kernel does not deliver super-frames
// of tunnels: the wire counts them as unreadable, and
// `ethtool -K IFACE tso off gso off gro off` on both ends avoids them.
package wire
