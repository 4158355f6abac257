// Package pcappipe writes the packets of running captures to one pipe, as pcap or pcapng,
// for a program that reads while the capture runs.
//
//	stream of a queue ─► Storer: encode ─┐
//	stream of a queue ─► Storer: encode ─┴─► Pipe: merge by stamp ─► io.Writer
//
// A Storer is one for the recorder: a reader that is slow holds the capture back as a slow
// disk does, and the port counts what is lost. A packet is written 10 ms after it was
// captured, or earlier. Packets of several queues are in the order of their stamps, as far
// as every queue's packets reach the stream within 5 ms of their stamps; those that come
// later are written when they come, and counted.
package pcappipe
