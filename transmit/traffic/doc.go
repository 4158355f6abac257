// Package traffic generates frames: sizes, flows and the times between departures.
//
//	Spec ─► New ─► Generator (a transmit.Source)
//	                 Sizes  60, 60-1514, imix, 64:1,1514:2
//	                 Flows  ranges of addresses and ports, enumerated
//	                 Gaps   constant, poisson, burst, on-off, file
//
// Frames are UDP or TCP over IPv4 or IPv6, with valid checksums and a mark of package probe
// in the payload. A Generator with the same Spec makes the same frames.
package traffic
