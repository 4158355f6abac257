// Package meter shows the threads that read running captures: the packets that each gets,
// its rate and its losses.
//
//	control socket ─► Meter.Sample, every second ─► Report: a Thread for each listener
//	sockets of the queues ─► Count: threads that only count, alone or in a fan-out group
//
// It is what captop is to the authors of "Packet Fan-Out Extension for the pcap Library"
// (section VIII), the load of their measurements included.
package meter
