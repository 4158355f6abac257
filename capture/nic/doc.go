// Package nic implements capture.Port with the driver of the Intel 82599.
//
//	"eth2", "sim:..."  ─ pci.Open ─►  pci.Device  ─ driver.Open ─►  Port: capture.Port
//
// The names that Open accepts depend on the transports that the program imports:
// pci/vfio for PCI addresses and interfaces, pci/vfiouser for vfio-user:, sim for
// sim:.
package nic
