// Package drivertest has what tests of the 82599 driver, and of what lies above
// it, need instead of a device.
//
// Ring is a receive queue in memory: the test writes frames into it as a device
// would, the driver's own code polls them.
//
//	test --Fill(n, size)--> descriptors, buffers --Queue().Poll--> frames
//	       ^                                            |
//	       +------------ tail register <--Release-------+
//
// Device is a scriptable PCI function that answers as an 82599 does while it is
// brought up: registers in memory, with hooks to make any step go wrong. For
// traffic there is the software 82599 in package sim.
package drivertest
