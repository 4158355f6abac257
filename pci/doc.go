// Package pci finds PCI functions, says what they are and who holds them, and
// opens one as a Device: the only thing a driver sees.
//
//	"0000:03:00.0"  "eth2"            "vfio-user:/run/nic.sock"   "sim:pcap=FILE"
//	      |            | ByInterface             |                      |
//	      +-- Lookup --+                         |  scheme              |  scheme
//	            |                                |                      |
//	        Function (sysfs)                 pci/vfiouser              sim
//	   id, BARs, node, driver, group             |                      |
//	                                             +------> Device <------+
//	                                                 registers (Region)
//	                                                 interrupts (eventfds)
//	                                                 memory (dma.Mapper)
//
// In goes a name. Out comes a Device, or an error that says why there is none:
// no such function or interface, or what it is, which driver holds it and which
// functions share its IOMMU group. Transports register the schemes they serve;
// a program imports those it wants. The kernel's VFIO is not among them yet, so
// that functions of this machine can be found and described but not opened.
//
// Discovery reads the sysfs mounted at a root folder, Sysfs outside of tests,
// and changes nothing.
package pci
