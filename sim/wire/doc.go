// Package wire has the wires of the model's ports. Parse makes a Wire of the options
// of a device's name ("pcap=FILE,rate=line"). The port's device thread receives the
// frames that have arrived from it and sends frames to it:
//
//	pcap=FILE  ─┐ frames in one arena
//	gen        ─┴──> schedule at 10 GbE ──┐
//	mix        ────> flows, in turn ──────┤
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
// Usage lists the options.
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
