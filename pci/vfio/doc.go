// Package vfio is the transport to PCI functions of this machine through the kernel's
// VFIO, which gives a process access to a function behind an IOMMU. Importing it
// registers addresses and interface names with pci.Open:
//
//	0000:03:00.0  eth2            selects the form
//	vfio-group:0000:03:00.0       group and container, type 1 v2
//	vfio-iommufd:0000:03:00.0     the function's own node, and iommufd
//
// The function must be bound to vfio-pci (examples/vfio-bind).
//
//	Load32, Store32 of a BAR --> mapped memory: one load, one store
//	ReadAt, WriteAt, config ---> pread, pwrite of the device's file
//	DMA().Map(memory) ---------> IOVA: pinned, and mapped in the IOMMU
//	SetVectors(eventfds) <------ the kernel signals the eventfds
//	Done, Err <----------------- error and request interrupts
//
//	   group form                          iommufd form
//	   /dev/vfio/vfio   container          /dev/iommu                 IOAS
//	        ^                                   ^
//	   /dev/vfio/12     group              /dev/vfio/devices/vfio3    device
//	        |
//	      device
//
// The iommufd form is used if the function's node and /dev/iommu exist and this process
// may open both, else the group form. The kernel allows one opener per group, so the
// functions of a group that a process opens share an address space.
//
// IOVAs come from an allocator of this package within the ranges that the IOMMU
// reports (VFIO_IOMMU_GET_INFO, IOMMU_IOAS_IOVA_RANGES), without the first megabyte, so
// that a descriptor of zeros is not a valid address.
//
// # Loss of the device
//
// The kernel requests the release of a function with the request interrupt, when the
// function is unbound or unplugged, and then waits without limit until every file and
// mapping of the device is closed. A failed device or link raises the error interrupt.
// In both cases, and when a system call times out, the transport releases the device at
// once, independent of the program: it clears bus mastering, unmaps all memory and
// closes the files. Loads then return all ones, stores are discarded, Done is closed and
// Err returns the reason.
//
// # Mapped registers after the loss
//
// An access to a mapped BAR raises SIGBUS if memory decoding is off, and SIGSEGV if the
// BAR was unmapped. A poller may store a tail register at any time, and that store must
// stay a single instruction. So the addresses of a BAR stay mapped while its Region is
// reachable. When the device is lost, or when a write to configuration space turns
// memory decoding off or leaves D0, ordinary memory replaces the registers in one mmap.
// Loads, which take a microsecond anyway, also recover from a bus error.
//
// # Timeouts
//
// Every system call on a device has a timeout; the error is a TimeoutError that names
// the call. Calls that can block in the kernel, and their timeouts:
//
//   - open and close of a device (VFIO_GROUP_GET_DEVICE_FD,
//     VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_ATTACH_IOMMUFD_PT, close) and
//     VFIO_DEVICE_RESET reset the function, for which the kernel allows a minute: 75 s
//   - accesses to configuration space (pread, pwrite) block during a reset: 75 s
//   - VFIO_IOMMU_MAP_DMA and IOMMU_IOAS_MAP pin memory page by page, and the calls that
//     unmap flush the IOMMU's caches: one minute, and one minute per GiB
//   - VFIO_DEVICE_SET_IRQS waits for running interrupt handlers; other calls do not
//     block: 10 s
//
// A thread cannot be removed from a system call. After a timeout the thread stays in the
// call, the device is lost, and its file is closed when the call returns. Loads and
// stores of mapped registers are not system calls: during a reset they wait in the page
// fault until the reset ends.
package vfio
