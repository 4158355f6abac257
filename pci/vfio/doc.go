// Package vfio drives PCI functions of this machine through the kernel's VFIO,
// which lets a process have a function behind an IOMMU. Importing it makes
// pci.Open understand addresses and interface names:
//
//	0000:03:00.0  eth2            the form is chosen automatically
//	vfio-group:0000:03:00.0       group and container, type 1 v2
//	vfio-iommufd:0000:03:00.0     the function's own node, and iommufd
//
// The function must belong to vfio-pci (examples/vfio-bind hands it over). Out
// comes a pci.Device:
//
//	Load32, Store32 of a BAR --> mapped memory: one load, one store
//	ReadAt, WriteAt, config ---> pread, pwrite of the device's file
//	DMA().Map(memory) ---------> IOVA: pinned, and entered into the IOMMU
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
// The newer form is taken where the function's node and /dev/iommu are there and
// this process may open both, else the group. The kernel lends a group to one
// opener at a time, so the functions of one group that a process opens share an
// address space.
//
// Device addresses come from our own allocator within the ranges that the IOMMU
// reports (VFIO_IOMMU_GET_INFO, IOMMU_IOAS_IOVA_RANGES), without the first
// megabyte, so that a descriptor full of zeros points nowhere.
//
// # When the device goes away
//
// The kernel asks for a function by the request interrupt: it is being unbound,
// or unplugged, and the kernel waits inside that, without end, until every file
// and mapping of the device is closed. A broken device or link shows by the error
// interrupt. In both cases, and when the kernel does not come back from a call,
// the device is given back at once, whatever the program above is doing: it stops
// being bus master, its memory is unmapped, its files are closed. From then on
// loads give all ones and stores vanish, Done is closed and Err gives the reason.
//
// # Mapped registers that are no longer there
//
// A mapped BAR that is switched off answers with SIGBUS, and one that was
// unmapped with SIGSEGV. Neither may happen to a poller that stores a tail
// register while another goroutine closes the device, and nothing may be added to
// that store. So a BAR's addresses stay mapped for as long as its Region is
// reachable: when the device goes, or when a write to configuration space switches
// its memory off or puts it to sleep, ordinary memory takes the registers' place in
// one step. Loads, which cost a microsecond anyway, also survive a bus error that
// comes from elsewhere.
//
// # Calls that may block
//
// None of the waits here is without end: every system call on a device runs beside
// a deadline, and a call that misses it is a TimeoutError that names it. What can
// block in the kernel, and how long it is given:
//
//   - opening and closing a device (VFIO_GROUP_GET_DEVICE_FD,
//     VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_ATTACH_IOMMUFD_PT, close) and
//     VFIO_DEVICE_RESET reset the function, for which the kernel allows it a
//     minute: 75 s
//   - configuration space (pread, pwrite) is held back during such a reset: 75 s
//   - VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP pin page by page, and the calls that
//     unmap wait for the IOMMU's caches: a minute and a minute per GiB
//   - VFIO_DEVICE_SET_IRQS waits for handlers under way; opening a node and the
//     calls that ask for something should not block at all: 10 s
//
// The thread in such a call cannot be taken out of it. It is left behind, the
// device is taken down, and its file is closed once the kernel comes back. Loads
// and stores of mapped registers are no calls: during a reset they wait in the
// page fault, as long as the reset takes.
package vfio
