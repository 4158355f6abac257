// Package doctor examines a machine: can a port capture at line rate, and which
// command removes each obstacle. It changes nothing and needs no privileges.
//
//	Spec (family of ports, needs, commands)
//	                 │
//	/sys /proc /dev  ▼
//	/lib/modules ─> Examine ─> Report ─> WriteText, WriteJSON
//	netlink                     Ports:  state of each port of the family
//	                            Checks: state, finding, reason, fix
//
// The checks are: kernel, IOMMU, vfio-pci, the port's IOMMU group, driver, device
// node and slot, huge pages, memlock, isolated cores, poller cores, SCHED_FIFO, RT
// throttling, TSC, governor. What depends on the kind of port or on the programs
// in use comes with the Spec.
package doctor
