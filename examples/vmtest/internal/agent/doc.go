// Package agent is the protocol between a VM test and the agent in the VM: frames over a
// byte stream that may contain other data.
//
//	host                                    VM
//	Start   {args, env}          -->
//	                             <--        Output bytes
//	Signal  {number}             -->
//	                             <--        Output bytes
//	                             <--        Exit {status}
//
// Every frame has the number of its job, so that several jobs can run. The first frame of
// the VM is Hello, of job 0.
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
// The header has its own checksum, so that a reader never waits for the payload of an
// invalid length. A reader skips other data byte by byte.
package agent
