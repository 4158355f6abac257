// Package agent is the protocol between a VM test and the agent in its guest:
// frames over a byte stream that may hold anything else besides.
//
//	host                                    guest
//	Start   {args, env}          -->
//	                             <--        Output bytes
//	Signal  {number}             -->
//	                             <--        Output bytes
//	                             <--        Exit {status}
//
// Every frame carries the number of the job it belongs to, so that many run at
// once. The guest's first frame is Hello, of job 0.
//
// A frame is a header of 24 bytes and the payload, all little-endian:
//
//	 0  magic      4   A5 69 78 5A
//	 4  kind       1
//	 5  zero       3
//	 8  job        4
//	12  length     4   of the payload, at most MaxPayload
//	16  CRC-32     4   IEEE, of the payload
//	20  CRC-32     4   IEEE, of the 20 bytes before
//	24  payload
//
// The header has a check of its own, so a reader never waits for the payload
// that a damaged length promises. What is no frame is skipped byte by byte.
package agent
