// Package pci finds PCI functions, says what they are and who holds them, and
// opens one as a Device: the only thing a driver sees.
//
//	"0000:03:00.0"  "eth2"      "vfio-group:eth2"   "vfio-user:/run/nic.sock"   "sim:pcap=FILE"
//	      |            |              |                    |                      |
//	      +-- Resolve -+              | Resolve            |                      |
//	            |                     |                    |                      |
//	        Function (sysfs) ---> pci/vfio            pci/vfiouser               sim
//	   id, BARs, node,                |                    |                      |
//	   driver, group                  +----------------> Device <-----------------+
//	                                               registers (Region)
//	                                               interrupts (eventfds)
//	                                               memory (dma.Mapper)
//
// In goes a name. Out comes a Device, or an error that says why there is none:
// no such function or interface, or what it is, which driver holds it and which
// functions share its IOMMU group. Transports register the schemes they serve, and
// one of them the kernel's functions; a program imports those it wants. An
// interface that examples/vfio-bind took from the kernel is still known by the name
// it had (BindRecords).
//
// Discovery reads the sysfs mounted at a root folder, Sysfs outside of tests,
// and changes nothing.
package pci
