package vfio

import (
	"encoding/binary"
	"fmt"
)

// Source: Linux, include/uapi/linux/vfio.h and iommufd.h. Structures have the machine's
// byte order, and no padding except as shown here.

// order is the machine's byte order: amd64 and arm64 are little-endian.
var order = binary.LittleEndian

// request is the number of an ioctl: 59 (';') in bits 8-15, the call in bits 0-7.
type request uint

const (
	getAPIVersion     request = ';'<<8 + 100 // VFIO_BASE
	checkExtension    request = ';'<<8 + 101
	setIOMMU          request = ';'<<8 + 102
	groupGetStatus    request = ';'<<8 + 103
	groupSetContainer request = ';'<<8 + 104
	groupGetDeviceFD  request = ';'<<8 + 106
	deviceGetInfo     request = ';'<<8 + 107
	deviceGetRegion   request = ';'<<8 + 108
	deviceGetIRQ      request = ';'<<8 + 109
	deviceSetIRQs     request = ';'<<8 + 110
	deviceReset       request = ';'<<8 + 111
	iommuGetInfo      request = ';'<<8 + 112
	iommuMapDMA       request = ';'<<8 + 113
	iommuUnmapDMA     request = ';'<<8 + 114
	deviceBindIOMMUFD request = ';'<<8 + 118
	deviceAttachPT    request = ';'<<8 + 119

	ioasAlloc  request = ';'<<8 + 0x81 // IOMMUFD_CMD_BASE + 1
	ioasRanges request = ';'<<8 + 0x84
	ioasMap    request = ';'<<8 + 0x85
	ioasUnmap  request = ';'<<8 + 0x86
)

var requestNames = map[request]string{
	getAPIVersion: "VFIO_GET_API_VERSION", checkExtension: "VFIO_CHECK_EXTENSION", setIOMMU: "VFIO_SET_IOMMU",
	groupGetStatus: "VFIO_GROUP_GET_STATUS", groupSetContainer: "VFIO_GROUP_SET_CONTAINER", groupGetDeviceFD: "VFIO_GROUP_GET_DEVICE_FD",
	deviceGetInfo: "VFIO_DEVICE_GET_INFO", deviceGetRegion: "VFIO_DEVICE_GET_REGION_INFO", deviceGetIRQ: "VFIO_DEVICE_GET_IRQ_INFO",
	deviceSetIRQs: "VFIO_DEVICE_SET_IRQS", deviceReset: "VFIO_DEVICE_RESET",
	iommuGetInfo: "VFIO_IOMMU_GET_INFO", iommuMapDMA: "VFIO_IOMMU_MAP_DMA", iommuUnmapDMA: "VFIO_IOMMU_UNMAP_DMA",
	deviceBindIOMMUFD: "VFIO_DEVICE_BIND_IOMMUFD", deviceAttachPT: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
	ioasAlloc: "IOMMU_IOAS_ALLOC", ioasRanges: "IOMMU_IOAS_IOVA_RANGES", ioasMap: "IOMMU_IOAS_MAP", ioasUnmap: "IOMMU_IOAS_UNMAP",
}

func (r request) String() string {
	if name := requestNames[r]; name != "" {
		return name
	}
	return fmt.Sprintf("ioctl %#x", uint(r))
}

// Values of the calls above.
const (
	apiVersion = 0
	type1v2    = 3 // VFIO_TYPE1v2_IOMMU

	groupViable = 1 << 0 // VFIO_GROUP_FLAGS_VIABLE

	deviceFlagReset = 1 << 0 // VFIO_DEVICE_FLAGS_RESET
	deviceFlagPCI   = 1 << 1 // VFIO_DEVICE_FLAGS_PCI

	regionFlagRead  = 1 << 0
	regionFlagWrite = 1 << 1
	regionFlagMmap  = 1 << 2
	regionFlagCaps  = 1 << 3
	regionCapSparse = 1 // VFIO_REGION_INFO_CAP_SPARSE_MMAP
	regionCapMSIX   = 3 // VFIO_REGION_INFO_CAP_MSIX_MAPPABLE

	irqFlagEventFD    = 1 << 0
	irqFlagMaskable   = 1 << 1
	irqFlagAutoMasked = 1 << 2
	irqFlagNoResize   = 1 << 3

	irqDataNone      = 1 << 0
	irqDataEventFD   = 1 << 2
	irqActionMask    = 1 << 3
	irqActionUnmask  = 1 << 4
	irqActionTrigger = 1 << 5

	iommuFlagPageSizes = 1 << 0
	iommuFlagCaps      = 1 << 1
	iommuCapRanges     = 1 // VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
	iommuCapDMAAvail   = 3 // VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL

	dmaFlagRead  = 1 << 0
	dmaFlagWrite = 1 << 1

	bindFlagToken = 1 << 0 // VFIO_DEVICE_BIND_FLAG_TOKEN

	ioasFlagFixed = 1 << 0
	ioasFlagWrite = 1 << 1
	ioasFlagRead  = 1 << 2
)

// vfio-pci's indices of regions and interrupts.
const (
	bars         = 6
	configRegion = 7
	irqKinds     = 5
)

// Bytes used of the structures.
const (
	deviceInfoSize = 16
	regionInfoSize = 32
	irqInfoSize    = 16
	irqSetSize     = 20
	iommuInfoSize  = 20
	rangesSize     = 32
)

// words builds a structure of 32-bit fields.
func words(v ...uint32) []byte {
	var b []byte
	for _, w := range v {
		b = order.AppendUint32(b, w)
	}
	return b
}

// word returns the 32-bit field at an offset of a structure.
func word(b []byte, at int) uint32 { return order.Uint32(b[at:]) }

// deviceInfo is struct vfio_device_info.
type deviceInfo struct{ flags, regions, irqs uint32 }

func parseDeviceInfo(b []byte) deviceInfo {
	return deviceInfo{word(b, 4), word(b, 8), word(b, 12)}
}

// irqInfo is struct vfio_irq_info.
type irqInfo struct{ flags, count uint32 }

func parseIRQInfo(b []byte) irqInfo { return irqInfo{word(b, 4), word(b, 12)} }

// irqSet encodes struct vfio_irq_set with eventfds as data, if any.
func irqSet(flags uint32, index, start, count int, fds []int) []byte {
	b := words(uint32(irqSetSize+4*len(fds)), flags, uint32(index), uint32(start), uint32(count))
	for _, fd := range fds {
		b = order.AppendUint32(b, uint32(int32(fd)))
	}
	return b
}
