// Package ring has the memory formats that an Intel 82599 and its host share: the
// descriptors of receive and transmit queues (82599 datasheet rev 3.4, 7.1.6 and
// 7.2.3), the index arithmetic of the rings that hold them, and the Frame that a
// poll returns. It accesses no registers.
//
// A receive ring while frames arrive. The device owns the descriptors from head up
// to the tail; the host owns the others:
//
//	        read format          write-back format
//	        (host -> device)     (device -> host)
//	       +--------+--------+--------+--------+--------+--------+
//	index  |   0    |   1    |   2    |   3    |   4    |   5    |
//	       +--------+--------+--------+--------+--------+--------+
//	        addr     DD EOP   DD       DD EOP   addr     addr
//	          ^      '-----'  '--------------'    ^        ^
//	          |      a frame  a frame of two    device   tail (RDT):
//	     polled and           buffers, done     head     one behind, never
//	     refilled, not        (Rest has one)    (RDH)    posted
//	     yet posted
//
// head == tail would mean that the device owns no descriptor, so at most n-1
// descriptors of a ring of n are posted.
//
// A descriptor is 16 bytes, little-endian, in one of two formats:
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
// Word 1 has DD (descriptor done). One aligned 64-bit load of it returns status,
// errors, length and VLAN tag together.
package ring
