package vfiouser

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// The IOVAs of a device: 39 bits as with the smallest real IOMMUs, without the first
// megabyte, so that a descriptor of zeros is not a valid address, and without the MSI
// window, where writes are interrupts on a real bus.
var (
	allowed  = []dma.Range{{First: 1 << 20, Last: 1<<39 - 1}}
	reserved = []dma.Range{{First: 0xfee00000, Last: 0xfeefffff}}
)

// mapping is memory mapped for the server.
type mapping struct {
	iova      uint64
	size      uint64
	access    dma.Access
	mem       *hugepage.Memory
	unmapping bool // an Unmap is running
}

// mapper is the device's dma.Mapper.
type mapper struct {
	d       *Device
	private bool
	alloc   *dma.Allocator

	// mu is read-locked while a DMA message of the server is served, so that the
	// memory stays mapped.
	mu   sync.RWMutex
	maps []mapping // by iova
}

func (p *mapper) init(d *Device) {
	p.d, p.alloc = d, dma.NewAllocator(allowed, reserved)
}

// Map implements dma.Mapper.
func (p *mapper) Map(mem *hugepage.Memory, access dma.Access) (_ dma.IOVA, err error) {
	s := request{command: proto.DMAMap, what: "bytes", index: uint64(mem.Len())}
	page := uint64(mem.PageSize())
	switch {
	case access == 0 || access&^dma.DeviceReadsWrites != 0:
		return 0, s.wrap(fmt.Errorf("access %#x: want reads, writes or both", access))
	case p.d.server.PageSizes&(2*page-1) == 0:
		return 0, s.wrap(fmt.Errorf("pages of %#x bytes: the server supports only %#x", page, p.d.server.PageSizes))
	}
	iova, err := p.alloc.Alloc(uint64(mem.Len()), page)
	if err != nil {
		return 0, s.wrap(err)
	}
	// The device may use the memory before the server's reply arrives.
	m := mapping{iova: uint64(iova), size: uint64(mem.Len()), access: access, mem: mem}
	if err := p.insert(m); err != nil {
		return 0, errors.Join(s.wrap(err), p.alloc.Free(iova))
	}
	body := proto.MapDMA{ArgSize: proto.MapDMASize, Address: m.iova, Size: m.size}
	if access&dma.DeviceReads != 0 {
		body.Flags |= proto.DMAFlagRead
	}
	if access&dma.DeviceWrites != 0 {
		body.Flags |= proto.DMAFlagWrite
	}
	var fds []int
	if !p.private && mem.Fd() >= 0 {
		// The seals keep the server from truncating the file, which would crash this
		// process. A file without support for seals stays unsealed.
		_, _ = unix.FcntlInt(uintptr(mem.Fd()), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
		fds = []int{mem.Fd()}
	}
	reply, err := p.d.call(s, fds, body.Append(nil))
	if err != nil {
		p.remove(m.iova)
		return 0, errors.Join(err, p.alloc.Free(iova))
	}
	p.d.recycle(reply)
	return iova, nil
}

// Unmap implements dma.Mapper. If the device is lost it only removes the mapping.
func (p *mapper) Unmap(iova dma.IOVA) error {
	s := request{command: proto.DMAUnmap, what: "address", index: uint64(iova)}
	size, err := p.beginUnmap(uint64(iova))
	if err != nil {
		return s.wrap(err)
	}
	body := proto.UnmapDMA{ArgSize: proto.UnmapDMASize, Address: uint64(iova), Size: size}
	reply, err := p.d.call(s, nil, body.Append(nil))
	switch {
	case err == nil:
		p.d.recycle(reply)
	case !p.d.lost.Load():
		// An error reply: the server still uses the memory, so it stays mapped.
		p.cancelUnmap(uint64(iova))
		return err
	}
	p.remove(uint64(iova))
	return p.alloc.Free(iova)
}

// close unmaps everything.
func (p *mapper) close() (err error) {
	p.mu.RLock()
	maps := slices.Clone(p.maps)
	p.mu.RUnlock()
	for _, m := range maps {
		if !m.unmapping {
			err = errors.Join(err, p.Unmap(dma.IOVA(m.iova)))
		}
	}
	return err
}

func (p *mapper) insert(m mapping) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.maps) >= p.d.server.MaxMaps {
		return fmt.Errorf("%d ranges mapped, the server supports no more", len(p.maps))
	}
	i, _ := p.search(m.iova)
	p.maps = slices.Insert(p.maps, i, m)
	return nil
}

// beginUnmap marks a mapping as being unmapped, so that a second Unmap of it fails.
func (p *mapper) beginUnmap(iova uint64) (size uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.search(iova)
	if !ok || p.maps[i].unmapping {
		return 0, errors.New("nothing is mapped there")
	}
	p.maps[i].unmapping = true
	return p.maps[i].size, nil
}

// cancelUnmap reverts beginUnmap.
func (p *mapper) cancelUnmap(iova uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.search(iova); ok {
		p.maps[i].unmapping = false
	}
}

func (p *mapper) remove(iova uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.search(iova); ok {
		p.maps = slices.Delete(p.maps, i, i+1)
	}
}

func (p *mapper) search(iova uint64) (int, bool) {
	return slices.BinarySearchFunc(p.maps, iova, func(m mapping, iova uint64) int { return cmp.Compare(m.iova, iova) })
}

// serve replies to a DMA_READ or DMA_WRITE of the server. The error is that of sending
// the reply.
func (p *mapper) serve(m *proto.Message) error {
	a, data, err := proto.ParseDMAAccess(m.Body)
	write := m.Command == proto.DMAWrite
	switch {
	case err != nil:
	case write:
		err = a.HasData(data)
	case len(data) != 0:
		err = syscall.EINVAL
	}
	if err == nil && a.Count > proto.MaxTransfer {
		err = syscall.EINVAL
	}
	if err != nil {
		return p.d.conn.Reply(m, err, nil)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	mem, err := p.bytes(a, write)
	if err != nil {
		return p.d.conn.Reply(m, err, nil)
	}
	fixed := a.Append(make([]byte, 0, proto.DMAAccessSize))
	if write {
		copy(mem, data)
		return p.d.conn.Reply(m, nil, nil, fixed)
	}
	return p.d.conn.Reply(m, nil, nil, fixed, mem)
}

// bytes returns the memory of a DMA message. It must be in one mapping.
func (p *mapper) bytes(a proto.DMAAccess, write bool) ([]byte, error) {
	i, ok := p.search(a.Address)
	if !ok {
		i--
	}
	if i < 0 {
		return nil, syscall.EFAULT
	}
	m := p.maps[i]
	off := a.Address - m.iova
	if off >= m.size || a.Count > m.size-off {
		return nil, syscall.EFAULT
	}
	need := dma.DeviceReads
	if write {
		need = dma.DeviceWrites
	}
	if m.access&need == 0 {
		return nil, syscall.EACCES
	}
	mem := m.mem.Bytes()
	if uint64(len(mem)) < m.size {
		return nil, syscall.EFAULT // closed before it was unmapped
	}
	return mem[off : off+a.Count], nil
}
