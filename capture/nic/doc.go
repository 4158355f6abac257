// Package nic makes ports of Intel 82599 controllers ports of a capture. It is
// the one place in capture that knows a driver.
//
//	"eth2", "sim:..."  ─ pci.Open ─►  pci.Device  ─ driver.Open ─►  Port: capture.Port
//
// Which names Open understands is a matter of the transports that the program
// imports: pci/vfiouser for vfio-user:, sim for sim:.
package nic
