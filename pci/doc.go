// Package pci finds PCI functions, describes them, and opens one as a Device, the
// interface between a transport and a driver.
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
// Open returns a Device, or an error that explains why a function cannot be opened:
// its kind, its kernel driver and its IOMMU group. Transports register their schemes
// with Register, and one of them the addresses and interface names of this machine
// with RegisterKernel; a program imports the transports it uses. After
// examples/vfio-bind has bound a function, the name of its former interface still
// resolves to it (BindRecords).
//
// Discovery only reads sysfs, below a root folder (Sysfs, except in tests).
package pci
