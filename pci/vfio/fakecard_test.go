package vfio

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

// fakeCard is a function with two memory BARs behind vfio-pci: BAR 0 of 128 KiB, BAR 4
// of 16 KiB with the MSI-X table in its second page. A BAR is a file that is truncated to
// 0 while memory decoding is off, so that an access to its mapping raises SIGBUS.
type fakeCard struct {
	t  *testing.T
	mu sync.Mutex

	bars   [6]int // memfds, 0 for none
	sizes  [6]int64
	config [256]byte

	deviceFlags uint32
	sparse      bool // BAR 4 has a sparse mmap capability (before Linux 4.16)
	mappable    bool // BAR 4 has the MSI-X mappable capability (since 4.16)
	noCaps      bool
	dynamic     bool // MSI-X vectors can be added, Linux 6.5
	vectors     int  // that are left
	noExpress   bool // no error interrupt

	kind    int // of the interrupts that are set up, -1: none
	fds     []int
	masked  bool // INTx
	single  [irqKinds]int
	resets  int
	closing bool
	lost    bool // accesses fail
}

func newCard(t *testing.T) *fakeCard {
	c := &fakeCard{t: t, deviceFlags: deviceFlagPCI | deviceFlagReset, mappable: true, kind: -1, vectors: 64}
	c.sizes[0], c.sizes[4] = 128<<10, 16<<10
	for i, size := range c.sizes {
		if size == 0 {
			continue
		}
		fd, err := unix.MemfdCreate("bar", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		require.NoError(t, unix.Ftruncate(fd, size))
		t.Cleanup(func() { _ = unix.Close(fd) })
		c.bars[i] = fd
	}
	le := binary.LittleEndian
	le.PutUint16(c.config[0:], 0x8086)
	le.PutUint16(c.config[2:], 0x10fb)
	le.PutUint16(c.config[6:], statusCaps)
	c.config[8], c.config[0xa], c.config[0xb] = 1, 0, 2
	le.PutUint16(c.config[0x2c:], 0x8086)
	le.PutUint16(c.config[0x2e:], 3)
	c.config[capsAt] = 0x40
	c.config[0x40], c.config[0x41] = capPower, 0x70
	c.config[0x70], c.config[0x71] = capMSIX, 0
	le.PutUint16(c.config[0x72:], 63)
	le.PutUint32(c.config[0x74:], 0x1000|4)
	return c
}

func (c *fakeCard) command() uint16 { return binary.LittleEndian.Uint16(c.config[commandAt:]) }
func (c *fakeCard) master() bool    { return c.command()&commandMaster != 0 }

func (c *fakeCard) opened() { c.power() }

// closed resets the interrupts, as the kernel does on the last close.
func (c *fakeCard) closed() {
	c.kind, c.fds, c.single = -1, nil, [irqKinds]int{}
}

// power enables or disables the BARs.
func (c *fakeCard) power() {
	on := c.command()&commandMemory != 0 && c.config[0x44]&pmStateMask == 0
	for i, fd := range c.bars {
		if fd != 0 {
			size := c.sizes[i]
			if !on {
				size = 0
			}
			require.NoError(c.t, unix.Ftruncate(fd, size))
		}
	}
}

func (k *fakeKernel) deviceIoctl(f *fakeFile, req request, arg []byte, refs []ref) (int, error) {
	c := k.card
	switch req {
	case deviceBindIOMMUFD:
		fd := k.files[int(int32(word(arg, 8)))]
		token := ""
		if word(arg, 4) == 1 && word(arg, 0) >= 24 && !k.noBindToken && len(refs) == 1 && refs[0].at == 16 {
			token = pci.VFToken(refs[0].mem).String()
			order.PutUint32(arg[4:], 0)
		}
		if err := k.checkToken(token); err != nil {
			return -1, err
		}
		if word(arg, 0) < 16 || word(arg, 4) != 0 || f.bound || fd == nil || fd.kind != "iommufd" {
			return -1, syscall.EINVAL
		}
		for _, other := range k.files {
			if other != f && other.path == f.path && other.bound {
				return -1, syscall.EINVAL
			}
		}
		if !k.viable {
			return -1, syscall.EPERM
		}
		f.bound, f.iommufd = true, fd
		return 0, nil
	case deviceAttachPT:
		if !f.bound || f.iommufd == nil || word(arg, 0) < 12 || word(arg, 4) != 0 || word(arg, 8) != 7 {
			return -1, syscall.EINVAL
		}
		f.attached = true
		f.iommufd.devices++
		c.opened()
		return 0, nil
	}
	if !f.bound {
		return -1, syscall.EINVAL // not bound: no access
	}
	switch req {
	case deviceGetInfo:
		if word(arg, 0) < 16 {
			return -1, syscall.EINVAL
		}
		copy(arg[4:], words(c.deviceFlags, 9, 5))
		return 0, nil
	case deviceGetRegion:
		return 0, c.region(arg)
	case deviceGetIRQ:
		return 0, c.irqInfo(arg)
	case deviceSetIRQs:
		return c.setIRQs(arg)
	case deviceReset:
		if c.deviceFlags&deviceFlagReset == 0 {
			return -1, syscall.EINVAL
		}
		c.resets++
		return 0, nil
	}
	return -1, syscall.ENOTTY
}

// region fills struct vfio_region_info.
func (c *fakeCard) region(arg []byte) error {
	room, index := word(arg, 0), word(arg, 8)
	if room < 32 || int(room) > len(arg) {
		return syscall.EINVAL
	}
	flags, size := uint32(0), uint64(0)
	var caps []byte
	switch {
	case index == configRegion:
		flags, size = regionFlagRead|regionFlagWrite, uint64(len(c.config))
	case index < 6 && c.bars[index] != 0:
		flags, size = regionFlagRead|regionFlagWrite|regionFlagMmap, uint64(c.sizes[index])
		if index == 4 && !c.noCaps {
			if c.sparse { // around the second page
				caps = append(caps, words(1|1<<16, 0, 2, 0)...)
				for _, v := range []uint64{0, 0x1000, 0x2000, 0x2000} {
					caps = order.AppendUint64(caps, v)
				}
			} else if c.mappable {
				caps = append(caps, words(3|1<<16, 0)...)
			}
		}
	}
	if len(caps) > 0 {
		flags |= regionFlagCaps
	}
	copy(arg[4:], words(flags, index, 0))
	order.PutUint64(arg[16:], size)
	order.PutUint64(arg[24:], uint64(index)<<40)
	if len(caps) > 0 {
		if need := uint32(32 + len(caps)); room < need {
			order.PutUint32(arg, need)
		} else {
			order.PutUint32(arg[12:], 32)
			copy(arg[32:], caps)
		}
	}
	return nil
}

func (c *fakeCard) irqInfo(arg []byte) error {
	info := [irqKinds]irqInfo{
		pci.INTx: {irqFlagEventFD | irqFlagMaskable | irqFlagAutoMasked, 1}, pci.MSI: {irqFlagEventFD | irqFlagNoResize, 1},
		pci.MSIX: {irqFlagEventFD | irqFlagNoResize, 64}, pci.ErrorIRQ: {irqFlagEventFD | irqFlagNoResize, 1}, pci.Request: {irqFlagEventFD | irqFlagNoResize, 1},
	}
	if c.dynamic {
		info[pci.MSIX].flags &^= irqFlagNoResize
	}
	kind := word(arg, 8)
	if word(arg, 0) < 16 || kind >= irqKinds || c.noExpress && kind == uint32(pci.ErrorIRQ) {
		return syscall.EINVAL
	}
	order.PutUint32(arg[4:], info[kind].flags)
	order.PutUint32(arg[12:], info[kind].count)
	return nil
}

// setIRQs behaves as vfio_pci_set_irqs_ioctl of Linux.
func (c *fakeCard) setIRQs(arg []byte) (int, error) {
	flags, kind, start, count := word(arg, 4), int(word(arg, 8)), int(word(arg, 12)), int(word(arg, 16))
	var info [16]byte
	copy(info[:], words(16, 0, uint32(kind), 0))
	if c.irqInfo(info[:]) != nil || start+count > int(word(info[:], 12)) {
		return -1, syscall.EINVAL
	}
	var fds []int
	if flags&irqDataEventFD != 0 {
		if count == 0 || int(word(arg, 0)) < irqSetSize+4*count {
			return -1, syscall.EINVAL
		}
		for i := range count {
			fds = append(fds, int(int32(word(arg, irqSetSize+4*i))))
		}
	}
	switch action := flags &^ 7; {
	case action == irqActionTrigger && kind >= int(pci.ErrorIRQ):
		if start != 0 || count > 1 {
			return -1, syscall.EINVAL
		}
		c.single[kind] = 0
		if count == 1 && fds != nil && fds[0] >= 0 {
			c.single[kind] = fds[0]
		}
		return 0, nil
	case action != irqActionTrigger && kind == int(pci.INTx):
		if c.kind != kind || start != 0 || count != 1 || flags&irqDataNone == 0 {
			return -1, syscall.EINVAL
		}
		c.masked = action == irqActionMask
		return 0, nil
	case action != irqActionTrigger:
		return -1, syscall.ENOTTY // vectors of MSI cannot be masked
	}
	switch {
	case c.kind == kind && count == 0 && flags&irqDataNone != 0:
		c.kind, c.fds = -1, nil
		return 0, nil
	case c.kind != -1 && c.kind != kind, fds == nil:
		return -1, syscall.EINVAL
	case c.kind == -1:
		if start+count > c.vectors {
			return c.vectors, nil // not an error, but not done
		}
		c.kind, c.fds = kind, make([]int, start+count)
		for i := range c.fds {
			c.fds[i] = -1
		}
	case start+count > len(c.fds):
		if !c.dynamic || kind != int(pci.MSIX) {
			return -1, syscall.EINVAL
		}
		for len(c.fds) < start+count {
			c.fds = append(c.fds, -1)
		}
	}
	copy(c.fds[start:], fds)
	return 0, nil
}

// fire raises an interrupt.
func (k *fakeKernel) fire(kind pci.IRQKind, vector int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.card
	switch {
	case kind >= pci.ErrorIRQ:
		signal(c.single[kind])
	case c.kind == int(kind) && vector < len(c.fds) && c.fds[vector] >= 0 && !(kind == pci.INTx && c.masked):
		signal(c.fds[vector])
		c.masked = kind == pci.INTx
	}
}

func (k *fakeKernel) pread(fd int, p []byte, off int64) (int, error) {
	return k.access("pread", fd, p, off, func(bar int, at int64) (int, error) { return unix.Pread(bar, p, at) },
		func(b []byte) { copy(p, b) })
}

func (k *fakeKernel) pwrite(fd int, p []byte, off int64) (int, error) {
	return k.access("pwrite", fd, p, off, func(bar int, at int64) (int, error) { return unix.Pwrite(bar, p, at) },
		func(b []byte) {
			copy(b, p)
			k.card.power()
		})
}

func (k *fakeKernel) access(call string, fd int, p []byte, off int64, bar func(int, int64) (int, error), config func([]byte)) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	index, at := off>>40, off&(1<<40-1)
	if err := k.enter(fmt.Sprintf("%s %d:%#x", call, index, at)); err != nil {
		return -1, err
	}
	f, c := k.files[fd], k.card
	if f == nil || f.kind != "device" || !f.bound {
		k.t.Errorf("%s on a descriptor that is not an open device", call)
		return -1, syscall.EBADF
	}
	if c.lost {
		return -1, syscall.EIO
	}
	if index == configRegion {
		config(c.config[at : at+int64(len(p))])
		return len(p), nil
	}
	if index == 4 && at >= 0x1000 && at < 0x1400 { // the MSI-X table: reads return ones, writes are discarded
		for i := range p {
			if call == "pread" {
				p[i] = 0xff
			}
		}
		return len(p), nil
	}
	if len(p) > 8 || at%int64(len(p)) != 0 {
		k.t.Errorf("%s of %d bytes at %#x", call, len(p), at)
	}
	return bar(c.bars[index], at)
}

func (k *fakeKernel) mmap(fd int, off int64, length int, at []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	index, first := off>>40, off&(1<<40-1)
	if err := k.enter(fmt.Sprintf("mmap %d:%#x+%#x", index, first, length)); err != nil {
		return nil, err
	}
	c := k.card
	if f := k.files[fd]; f == nil || f.kind != "device" || !f.attached || index > 5 || c.bars[index] == 0 || first+int64(length) > c.sizes[index] {
		return nil, syscall.EINVAL
	}
	if index == 4 && (c.noCaps || !c.mappable) && first < 0x2000 && first+int64(length) > 0x1000 {
		return nil, syscall.EINVAL // the page of the MSI-X table
	}
	return mapAt(c.bars[index], first, length, at, unix.MAP_SHARED)
}
