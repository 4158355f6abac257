package vfio

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ixcap/ixcap/dma"
)

// fakeKernel behaves as Linux does towards this package, by its documentation and
// sources: the order of calls, sizes of structures, limits. It replaces a machine with an
// IOMMU; tests in a virtual machine (examples/vmtest) use Linux itself.
type fakeKernel struct {
	t    *testing.T
	dev  string
	card *fakeCard

	mu      sync.Mutex
	files   map[int]*fakeFile
	next    int
	nodes   map[string]error // errors of opening, by node
	viable  bool
	noType1 bool
	ranges  []dma.Range
	noCaps  bool   // an old kernel: no capabilities after structures
	avail   int    // limit of mappings of a container
	pages   uint64 // page sizes
	memlock uint64 // bytes; 0: no limit
	locked  uint64
	short   uint64 // bytes an unmap leaves mapped

	sriov       bool   // the functions are a physical and virtual ones, which share a token
	token       string // that they share; empty: not set
	noBindToken bool   // an old kernel: no token for VFIO_DEVICE_BIND_IOMMUFD

	calls    []string
	failAt   int // number of the call that fails, from 1
	failWith error
	blocked  map[string]chan struct{} // calls that block until the channel is closed
}

// checkToken is vfio_pci_validate_vf_token.
func (k *fakeKernel) checkToken(token string) error {
	switch {
	case !k.sriov && token != "":
		return syscall.EINVAL
	case !k.sriov:
		return nil
	case k.token == "" && token != "":
		k.token = token
	case k.token != token:
		return syscall.EACCES
	}
	return nil
}

type fakeFile struct {
	kind string // container, group, iommufd, device
	path string

	group, container, iommufd *fakeFile // what it was added to
	iommu                     bool      // container: SET_IOMMU was done
	bound, attached           bool      // device
	maps                      map[uint64]uint64
	devices                   int // open from this group or iommufd
}

func (k *fakeKernel) add(f *fakeFile) int {
	f.maps = map[uint64]uint64{}
	k.next++
	k.files[k.next] = f
	return k.next
}

// enter records a call, and makes it fail or block. The caller holds mu.
func (k *fakeKernel) enter(name string) error {
	k.calls = append(k.calls, name)
	for call, c := range k.blocked {
		if strings.HasPrefix(name, call) {
			k.mu.Unlock()
			<-c
			k.mu.Lock()
		}
	}
	if len(k.calls) == k.failAt {
		return k.failWith
	}
	return nil
}

func (k *fakeKernel) open(path string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.enter("open " + strings.TrimPrefix(path, k.dev+"/")); err != nil {
		return -1, err
	}
	if err := k.nodes[path]; err != nil {
		return -1, err
	}
	if _, err := os.Stat(path); err != nil {
		return -1, err
	}
	switch rel := strings.TrimPrefix(path, k.dev+"/"); {
	case rel == "vfio/vfio":
		return k.add(&fakeFile{kind: "container", path: path}), nil
	case rel == "iommu":
		return k.add(&fakeFile{kind: "iommufd", path: path}), nil
	case strings.HasPrefix(rel, "vfio/devices/"):
		return k.add(&fakeFile{kind: "device", path: path}), nil
	}
	for _, f := range k.files {
		if f.path == path {
			return -1, syscall.EBUSY // a group has one opener
		}
	}
	return k.add(&fakeFile{kind: "group", path: path}), nil
}

func (k *fakeKernel) close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.enter("close"); err != nil {
		// The descriptor is closed even if close fails.
		k.drop(fd)
		return err
	}
	return k.drop(fd)
}

func (k *fakeKernel) drop(fd int) error {
	f := k.files[fd]
	if f == nil {
		k.t.Errorf("close of descriptor %d, which is not open", fd)
		return syscall.EBADF
	}
	delete(k.files, fd)
	switch f.kind {
	case "device":
		if k.card.master() && f.attached && k.blocked == nil {
			k.t.Error("device closed while it was bus master")
		}
		if f.group != nil {
			f.group.devices--
		}
		if f.attached {
			k.card.closed()
		}
	case "group":
		// A device that blocks in a call keeps its group's file open.
		if f.devices > 0 && k.blocked == nil {
			k.t.Error("group closed before its devices")
		}
	}
	for iova, size := range f.maps { // unmapped with the container
		delete(f.maps, iova)
		k.locked -= size
	}
	return nil
}

func (k *fakeKernel) ioctl(fd int, req request, value uintptr, arg []byte, refs ...ref) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.enter(req.String()); err != nil {
		return -1, err
	}
	f := k.files[fd]
	if f == nil {
		k.t.Errorf("%v on descriptor %d, which is not open", req, fd)
		return -1, syscall.EBADF
	}
	switch f.kind {
	case "container":
		return k.containerIoctl(f, req, value, arg, refs)
	case "group":
		return k.groupIoctl(f, req, arg)
	case "iommufd":
		return k.iommufdIoctl(f, req, arg, refs)
	}
	return k.deviceIoctl(f, req, arg, refs)
}

func (k *fakeKernel) containerIoctl(f *fakeFile, req request, value uintptr, arg []byte, refs []ref) (int, error) {
	switch req {
	case getAPIVersion:
		return 0, nil
	case checkExtension:
		if value == 3 && !k.noType1 {
			return 1, nil
		}
		return 0, nil
	case setIOMMU:
		if f.group == nil || f.iommu || value != 3 {
			return -1, syscall.EINVAL
		}
		f.iommu = true
		return 0, nil
	}
	if !f.iommu {
		return -1, syscall.EINVAL
	}
	switch req {
	case iommuGetInfo:
		return k.iommuInfo(arg)
	case iommuMapDMA:
		if len(arg) < 32 || word(arg, 0) < 32 || word(arg, 4)&^3 != 0 || word(arg, 4) == 0 || len(refs) != 1 || refs[0].at != 8 {
			return -1, syscall.EINVAL
		}
		return 0, k.mapDMA(f, order.Uint64(arg[16:]), order.Uint64(arg[24:]), refs[0].mem, k.avail)
	case iommuUnmapDMA:
		if len(arg) < 24 || word(arg, 0) < 24 || word(arg, 4) != 0 {
			return -1, syscall.EINVAL
		}
		n, err := k.unmapDMA(f, order.Uint64(arg[8:]), order.Uint64(arg[16:]))
		order.PutUint64(arg[16:], n)
		return 0, err
	}
	return -1, syscall.ENOTTY
}

// iommuInfo fills struct vfio_iommu_type1_info: with capabilities if they fit, else with
// the size that they need.
func (k *fakeKernel) iommuInfo(arg []byte) (int, error) {
	if len(arg) < 16 || int(word(arg, 0)) > len(arg) || word(arg, 0) < 16 {
		return -1, syscall.EINVAL
	}
	order.PutUint32(arg[4:], iommuFlagPageSizes)
	order.PutUint64(arg[8:], k.pages)
	if k.noCaps {
		return 0, nil
	}
	order.PutUint32(arg[4:], iommuFlagPageSizes|iommuFlagCaps)
	// An unknown capability, the ranges, the mappings left.
	at := uint32(24)
	caps := append(words(99|7<<16, at+16, 1, 2), words(1|1<<16, 0, uint32(len(k.ranges)), 0)...)
	for _, r := range k.ranges {
		caps = order.AppendUint64(caps, uint64(r.First))
		caps = order.AppendUint64(caps, uint64(r.Last))
	}
	order.PutUint32(caps[20:], at+uint32(len(caps)))
	caps = append(caps, words(3|1<<16, 0, uint32(k.avail))...)
	need := at + uint32(len(caps))
	if room := word(arg, 0); room < need {
		order.PutUint32(arg, need)
		order.PutUint32(arg[16:], 0)
		return 0, nil
	}
	order.PutUint32(arg[16:], at)
	copy(arg[at:], caps)
	return 0, nil
}

func (k *fakeKernel) mapDMA(f *fakeFile, iova, size uint64, mem []byte, avail int) error {
	page := k.pages & -k.pages
	switch {
	case size == 0 || uint64(len(mem)) != size || iova%page != 0 || size%page != 0:
		return syscall.EINVAL
	case avail >= 0 && len(f.maps) >= avail:
		return syscall.ENOSPC
	}
	for first, n := range f.maps {
		if iova < first+n && first < iova+size {
			return syscall.EEXIST
		}
	}
	inside := false
	for _, r := range k.ranges {
		inside = inside || uint64(r.First) <= iova && iova+size-1 <= uint64(r.Last)
	}
	if !inside {
		return syscall.EINVAL
	}
	if k.memlock != 0 && k.locked+size > k.memlock {
		return syscall.ENOMEM
	}
	f.maps[iova] = size
	k.locked += size
	return nil
}

func (k *fakeKernel) unmapDMA(f *fakeFile, iova, size uint64) (uint64, error) {
	n, ok := f.maps[iova]
	if !ok || n != size {
		return 0, nil // type 1 reports how much was unmapped: nothing
	}
	if k.card.master() && f.devices == 1 && k.card.closing {
		k.t.Error("memory unmapped while the device was bus master")
	}
	delete(f.maps, iova)
	k.locked -= size
	return size - k.short, nil
}

func (k *fakeKernel) groupIoctl(f *fakeFile, req request, arg []byte) (int, error) {
	switch req {
	case groupGetStatus:
		if word(arg, 0) < 8 {
			return -1, syscall.EINVAL
		}
		flags := uint32(0)
		if k.viable {
			flags = 1
		}
		order.PutUint32(arg[4:], flags)
		return 0, nil
	case groupSetContainer:
		c := k.files[int(int32(word(arg, 0)))]
		if c == nil || c.kind != "container" || f.container != nil {
			return -1, syscall.EINVAL
		}
		if !k.viable {
			return -1, syscall.EPERM
		}
		f.container, c.group = c, f
		return 0, nil
	case groupGetDeviceFD:
		if f.container == nil || !f.container.iommu {
			return -1, syscall.EINVAL
		}
		name, ok := strings.CutSuffix(string(arg), "\x00")
		name, token, _ := strings.Cut(name, " vf_token=")
		if err := k.checkToken(token); err != nil {
			return -1, err
		}
		if !ok || !strings.HasPrefix(name, "0000:03:00.") {
			return -1, syscall.ENODEV
		}
		f.devices++
		f.container.devices++
		k.card.opened()
		return k.add(&fakeFile{kind: "device", group: f, bound: true, attached: true}), nil
	}
	return -1, syscall.ENOTTY
}
