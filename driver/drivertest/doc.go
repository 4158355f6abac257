// Package drivertest replaces the device in tests of the 82599 driver and of packages
// above it.
//
// Ring is a receive queue in memory: the test writes frames to it as a device would,
// and the driver's RxQueue polls them.
//
//	test --Fill(n, size)--> descriptors, buffers --Queue().Poll--> frames
//	       ^                                            |
//	       +------------ tail register <--Release-------+
//
// Device is a PCI function that answers as an 82599 does during initialisation:
// registers in memory, with fields that make any step fail. For traffic there is the
// software 82599 in package sim.
package drivertest
