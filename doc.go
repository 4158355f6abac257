// Package ixcap captures a network port without losing a frame. It is the short way
// into the library: everything that a program needs is linked in.
//
//	Open ─► Listen ─► Run ─► Ledger
//	          └─► Packets, Next, or gopacket's ReadPacketData, one goroutine for each listener
//
// A port is named by one string:
//
//	eth2                         an interface: its 82599 if that is bound to vfio-pci, else xdp, else packet
//	0000:03:00.0                 an Intel 82599 that is bound to vfio-pci
//	xdp:eth0                     any interface, through AF_XDP sockets
//	packet:eth0                  any interface, through packet sockets
//	vfio-user:/run/nic.sock      a device that another process serves
//	sim:pcap=FILE,rate=line      the software 82599 (package sim)
//
// Every receive queue has a stream of its own, which any number of listeners read,
// each at its own pace. A lossless listener that is slow holds the capture back; a
// lossy one loses frames and knows how many. What became of every frame is in the
// Ledger, which balances.
//
// The parts can be used alone: package capture is the engine, capture/stream the
// shared buffer, capture/archive files, driver the 82599, sim its model.
package ixcap
