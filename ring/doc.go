// Package ring knows what an Intel 82599 and its host write to each other in
// memory: the descriptors of receive and transmit queues (82599 datasheet rev
// 3.4, 7.1.6 and 7.2.3) and the index arithmetic of the rings that hold them.
// It has no registers and no devices; in go bytes of a ring, out come Frames.
//
// A receive ring, seen while frames arrive. Between head and tail the
// descriptors belong to the device; the others belong to the host:
//
//	        read format          write-back format
//	        (host -> device)     (device -> host)
//	       +--------+--------+--------+--------+--------+--------+
//	index  |   0    |   1    |   2    |   3    |   4    |   5    |
//	       +--------+--------+--------+--------+--------+--------+
//	        addr     DD EOP   DD       DD EOP   addr     addr
//	          ^      '-----'  '--------------'    ^        ^
//	          |      a frame  a frame of two    device   tail (RDT):
//	     read, armed          buffers, done     head     one behind, never
//	     again, not yet       (Rest has one)    (RDH)    given to the device
//	     given back
//
// head == tail would mean "the device has none", so a ring of n descriptors
// lends the device at most n-1 of them.
//
// A descriptor is 16 bytes, little-endian, in one of two meanings:
//
//	read format                       63                              0
//	  word 0  packet buffer address   |<------------ IOVA ------------>|
//	  word 1  header buffer address   |<-- 0: one buffer per packet -->|
//
//	write-back format                 63        32 31    16 15        0
//	  word 0                          |  hash /   |  SPH   | packet    |
//	                                  | csum+id   | HDRLEN | type, RSS |
//	  word 1                          63  48 47  32 31    20 19        0
//	                                  | VLAN | len  | errors |  status |
//
// Word 1 carries DD (descriptor done), and one aligned 64-bit load of it brings
// status, errors, length and VLAN tag at once.
package ring
