package vfio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
)

// iommufdSpace is the iommufd form. Each function has its own node and is attached to
// an address space (IOAS) of /dev/iommu.
//
//	/dev/iommu                   map, unmap, IOVA ranges, per IOAS
//	     ^ VFIO_DEVICE_BIND_IOMMUFD, then VFIO_DEVICE_ATTACH_IOMMUFD_PT(IOAS)
//	/dev/vfio/devices/vfioN      device
type iommufdSpace struct {
	h    *host
	file *file
	ioas uint32
}

func (h *host) iommuNode() string { return filepath.Join(h.dev, "iommu") }

// deviceNode returns the function's own node, "" if there is none: the kernel is too
// old, or the function is not bound to vfio-pci.
func (h *host) deviceNode(f pci.Function) string {
	entries, err := os.ReadDir(filepath.Join(h.sys, "bus/pci/devices", f.Address.String(), "vfio-dev"))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vfio") {
			return filepath.Join(h.dev, "vfio/devices", e.Name())
		}
	}
	return ""
}

// openIOMMUFD creates an empty address space.
func openIOMMUFD(h *host, f pci.Function) (backend, error) {
	file, err := h.openNode(f, h.iommuNode())
	if err != nil {
		return nil, err
	}
	s := &iommufdSpace{h: h, file: file}
	b := words(12, 0, 0)
	if _, err := file.ioctl(h.limits.quick, ioasAlloc, b); err != nil {
		_ = s.close()
		return nil, err
	}
	s.ioas = word(b, 8)
	return s, nil
}

// device implements backend. Closing the file detaches the function.
func (s *iommufdSpace) device(f pci.Function) (_ *file, err error) {
	node := s.h.deviceNode(f)
	if node == "" {
		return nil, fmt.Errorf("%s has no vfio-dev: VFIO device nodes need Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV, and %s bound to vfio-pci",
			filepath.Join(s.h.sys, "bus/pci/devices", f.Address.String()), f.Address)
	}
	file, err := s.h.openNode(f, node)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.close(s.h.limits.reset)
		}
	}()
	bind, refs := words(16, 0, uint32(s.file.fd), 0), []ref(nil)
	if f.VFToken != nil {
		bind = words(24, bindFlagToken, uint32(s.file.fd), 0, 0, 0) // bytes 16-23: address of the token
		refs = append(refs, ref{16, f.VFToken[:]})
	}
	if _, err = file.ioctl(s.h.limits.reset, deviceBindIOMMUFD, bind, refs...); err != nil {
		switch {
		case errors.Is(err, syscall.EACCES), f.VFToken != nil && errors.Is(err, syscall.EINVAL):
			err = explainToken(f, err)
		case errors.Is(err, syscall.EPERM):
			err = s.h.notViable(f, err)
		case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EINVAL): // EINVAL: already bound
			err = fmt.Errorf("%w: function or group in use%s", err, s.h.usersOf(1, node, s.h.groupNode(f.Group)))
		}
		return nil, err
	}
	if _, err = file.ioctl(s.h.limits.reset, deviceAttachPT, words(12, 0, s.ioas)); err != nil {
		return nil, err
	}
	return file, nil
}

// info implements backend, for the devices attached so far. The kernel accepts all page
// sizes and limits the number of mappings by memory only.
func (s *iommufdSpace) info() (iommuInfo, error) {
	n := uint32(64)
	for {
		list := make([]byte, 16*n)
		b := words(rangesSize, s.ioas, n, 0, 0, 0, 0, 0)
		_, err := s.file.ioctl(s.h.limits.quick, ioasRanges, b, ref{16, list})
		if errors.Is(err, syscall.EMSGSIZE) && word(b, 8) > n && word(b, 8) <= 1<<16 {
			n = word(b, 8)
			continue
		}
		if err != nil {
			return iommuInfo{}, err
		}
		if word(b, 8) > n {
			return iommuInfo{}, fmt.Errorf("%v: %d ranges, more than the %d asked for", ioasRanges, word(b, 8), n)
		}
		info := iommuInfo{avail: -1, ranges: []dma.Range{}}
		for i := range word(b, 8) {
			r := dma.Range{First: dma.IOVA(order.Uint64(list[16*i:])), Last: dma.IOVA(order.Uint64(list[16*i+8:]))}
			if r.Last < r.First {
				return info, fmt.Errorf("%v: IOVA range %v", ioasRanges, r)
			}
			info.ranges = append(info.ranges, r)
		}
		if align := order.Uint64(b[24:]); align != 0 {
			info.pageSizes = -align // every power of two from there
		}
		return info, nil
	}
}

func (s *iommufdSpace) mapDMA(iova uint64, mem []byte, access dma.Access) error {
	flags := uint32(ioasFlagFixed)
	if access&dma.DeviceReads != 0 {
		flags |= ioasFlagRead
	}
	if access&dma.DeviceWrites != 0 {
		flags |= ioasFlagWrite
	}
	b := words(40, flags, s.ioas, 0, 0, 0) // bytes 16-23: virtual address
	b = order.AppendUint64(b, uint64(len(mem)))
	b = order.AppendUint64(b, iova)
	_, err := s.file.ioctl(s.h.limits.forMapping(uint64(len(mem))), ioasMap, b, ref{16, mem})
	return err
}

func (s *iommufdSpace) unmapDMA(iova, size uint64) (uint64, error) {
	b := words(24, s.ioas)
	b = order.AppendUint64(b, iova)
	b = order.AppendUint64(b, size)
	_, err := s.file.ioctl(s.h.limits.forMapping(size), ioasUnmap, b)
	if err != nil {
		return 0, err // a call that timed out may still write to b
	}
	return order.Uint64(b[16:]), nil
}

func (s *iommufdSpace) mapCall() request   { return ioasMap }
func (s *iommufdSpace) unmapCall() request { return ioasUnmap }

// close closes the address space, after its devices.
func (s *iommufdSpace) close() error { return s.file.close(s.h.limits.reset) }
