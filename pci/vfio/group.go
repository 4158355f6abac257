package vfio

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
)

// groupSpace is the group form. An IOMMU group, whose functions the IOMMU cannot
// isolate from each other, is opened as a whole and added to a container, which is
// their common address space.
//
//	/dev/vfio/vfio   container   map, unmap, IOVA ranges
//	     ^ VFIO_GROUP_SET_CONTAINER, then VFIO_SET_IOMMU(type 1 v2)
//	/dev/vfio/N      group       viability, functions
//	     ^ VFIO_GROUP_GET_DEVICE_FD
//	device
type groupSpace struct {
	h         *host
	container *file
	group     *file
}

func (h *host) containerNode() string { return filepath.Join(h.dev, "vfio/vfio") }
func (h *host) groupNode(group int) string {
	return filepath.Join(h.dev, "vfio", strconv.Itoa(group))
}

// openGroup opens the IOMMU group of f in a new container.
func openGroup(h *host, f pci.Function) (_ backend, err error) {
	g := &groupSpace{h: h}
	defer func() {
		if err != nil {
			_ = g.close()
		}
	}()
	if g.container, err = h.openNode(f, h.containerNode()); err != nil {
		return nil, err
	}
	version, err := g.container.ioctlValue(h.limits.quick, getAPIVersion, 0)
	if err == nil && version != apiVersion {
		err = fmt.Errorf("%v: version %d, want %d", getAPIVersion, version, apiVersion)
	}
	if err != nil {
		return nil, err
	}
	has, err := g.container.ioctlValue(h.limits.quick, checkExtension, type1v2)
	if err == nil && has == 0 {
		err = fmt.Errorf("%v: no type 1 v2 IOMMU in the kernel: sudo modprobe vfio_iommu_type1", checkExtension)
	}
	if err != nil {
		return nil, err
	}
	if g.group, err = h.openNode(f, h.groupNode(f.Group)); err != nil {
		return nil, err
	}
	status := words(8, 0)
	if _, err = g.group.ioctl(h.limits.quick, groupGetStatus, status); err != nil {
		return nil, err
	}
	if word(status, 4)&groupViable == 0 {
		return nil, h.notViable(f, nil)
	}
	if _, err = g.group.ioctl(h.limits.quick, groupSetContainer, words(uint32(g.container.fd))); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EBUSY) {
			err = h.notViable(f, err)
		}
		return nil, err
	}
	if _, err = g.container.ioctlValue(h.limits.reset, setIOMMU, type1v2); err != nil {
		if errors.Is(err, syscall.EPERM) {
			err = fmt.Errorf("%w: the IOMMU does not isolate interrupts. Enable interrupt remapping in the firmware and remove intremap=off", err)
		}
		return nil, err
	}
	return g, nil
}

// info implements backend. It makes a second call if the first reports capabilities.
func (g *groupSpace) info() (iommuInfo, error) {
	room := uint32(iommuInfoSize)
	for range 2 {
		b := make([]byte, room)
		order.PutUint32(b, room)
		if _, err := g.container.ioctl(g.h.limits.quick, iommuGetInfo, b); err != nil {
			return iommuInfo{}, err
		}
		info, err := parseIOMMUInfo(b)
		if err != nil {
			return info, fmt.Errorf("%v: %w", iommuGetInfo, err)
		}
		if info.argSize <= room {
			return info, nil
		}
		if room = info.argSize; room > 1<<20 {
			break
		}
	}
	return iommuInfo{}, fmt.Errorf("%v: %d bytes of result, too many", iommuGetInfo, room)
}

func (g *groupSpace) device(f pci.Function) (*file, error) {
	late := func(fd int) { _ = g.h.k.close(fd) }
	name := f.Address.String()
	if f.VFToken != nil {
		name += " vf_token=" + f.VFToken.String()
	}
	fd, err := g.group.call(g.h.limits.reset, groupGetDeviceFD.String(), func(fd int) (int, error) {
		return g.h.k.ioctl(fd, groupGetDeviceFD, 0, append([]byte(name), 0))
	}, late)
	if err != nil {
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("%w%s", err, g.h.usersOf(1, g.group.path))
		}
		err = explainToken(f, err)
		return nil, fmt.Errorf("%s: %w", f.Address, err)
	}
	return newFile(g.h.k, f.Address.String(), fd), nil
}

func (g *groupSpace) mapDMA(iova uint64, mem []byte, access dma.Access) error {
	flags := uint32(0)
	if access&dma.DeviceReads != 0 {
		flags |= dmaFlagRead
	}
	if access&dma.DeviceWrites != 0 {
		flags |= dmaFlagWrite
	}
	b := words(32, flags, 0, 0) // bytes 8-15: virtual address
	b = order.AppendUint64(b, iova)
	b = order.AppendUint64(b, uint64(len(mem)))
	_, err := g.container.ioctl(g.h.limits.forMapping(uint64(len(mem))), iommuMapDMA, b, ref{8, mem})
	return err
}

func (g *groupSpace) unmapDMA(iova, size uint64) (uint64, error) {
	b := words(24, 0)
	b = order.AppendUint64(b, iova)
	b = order.AppendUint64(b, size)
	_, err := g.container.ioctl(g.h.limits.forMapping(size), iommuUnmapDMA, b)
	if err != nil {
		return 0, err // a call that timed out may still write to b
	}
	return order.Uint64(b[16:]), nil
}

func (g *groupSpace) mapCall() request   { return iommuMapDMA }
func (g *groupSpace) unmapCall() request { return iommuUnmapDMA }

// close closes the group, after its devices, and the container, which unmaps all
// memory.
func (g *groupSpace) close() (err error) {
	if g.group != nil {
		err = g.group.close(g.h.limits.reset)
	}
	if g.container != nil {
		err = errors.Join(err, g.container.close(g.h.limits.reset))
	}
	return err
}
