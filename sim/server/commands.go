package server

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// reply is the reply to a command: parts of the body, and file descriptors, which the
// server keeps.
type reply struct {
	parts [][]byte
	fds   []int
}

func body(b []byte) reply { return reply{parts: [][]byte{b}} }

// execute executes a request.
func (s *session) execute(m *proto.Message) (reply, error) {
	if m.FDs() > 0 && m.Command != proto.DMAMap && m.Command != proto.SetIRQs {
		return reply{}, fmt.Errorf("%v: takes no descriptors, got %d: %w", m.Command, m.FDs(), syscall.EINVAL)
	}
	switch m.Command {
	case proto.GetInfo:
		return s.deviceInfo(m.Body)
	case proto.GetRegionInfo:
		return s.regionInfo(m.Body)
	case proto.GetRegionFDs:
		return s.regionFDs(m.Body)
	case proto.GetIRQInfo:
		return s.irqInfo(m.Body)
	case proto.SetIRQs:
		return reply{}, s.setIRQs(m)
	case proto.RegionRead:
		return s.regionRead(m.Body)
	case proto.RegionWrite:
		return s.regionWrite(m.Body)
	case proto.WriteMulti:
		return s.writeMulti(m.Body)
	case proto.DMAMap:
		return reply{}, s.dmaMap(m)
	case proto.DMAUnmap:
		return s.dmaUnmap(m.Body)
	case proto.DeviceReset:
		if len(m.Body) != 0 {
			return reply{}, fmt.Errorf("reset: %d bytes of body: %w", len(m.Body), syscall.EINVAL)
		}
		s.dev.Reset()
		return reply{}, nil
	case proto.DeviceFeature, proto.MigDataRead, proto.MigDataWrite:
		return reply{}, fmt.Errorf("%v: no migration: %w", m.Command, syscall.ENOTSUP)
	}
	return reply{}, fmt.Errorf("%v: not a command for servers: %w", m.Command, syscall.EINVAL)
}

func (s *session) deviceInfo(b []byte) (reply, error) {
	request, err := proto.ParseDeviceInfo(b)
	if err == nil {
		err = checkArgSize("device info", request.ArgSize, proto.DeviceInfoSize)
	}
	if err != nil {
		return reply{}, err
	}
	return body(proto.DeviceInfo{
		ArgSize: proto.DeviceInfoSize, Flags: proto.DeviceFlagReset | proto.DeviceFlagPCI,
		Regions: uint32(max(len(s.layout.Regions), proto.PCIRegions)), IRQs: uint32(len(s.host.irqs)),
	}.Append(s.buf[:0])), nil
}

// checkArgSize checks a request's argsz, the client's maximum for the reply.
func checkArgSize(what string, argsz uint32, want uint32) error {
	if argsz < want {
		return fmt.Errorf("%s: argsz %d, want at least %d: %w", what, argsz, want, syscall.EINVAL)
	}
	return nil
}

// region returns a region. One that the device does not describe has size 0.
func (s *session) region(index uint32) (Region, error) {
	if uint64(index) < uint64(len(s.layout.Regions)) {
		return s.layout.Regions[index], nil
	}
	if index < proto.PCIRegions {
		return Region{}, nil
	}
	return Region{}, fmt.Errorf("no region %d: %w", index, syscall.EINVAL)
}

func (s *session) regionInfo(b []byte) (reply, error) {
	request, err := proto.ParseRegionInfo(b)
	if err == nil {
		err = checkArgSize("region info", request.ArgSize, proto.RegionInfoSize)
	}
	if err != nil {
		return reply{}, err
	}
	r, err := s.region(request.Index)
	if err != nil {
		return reply{}, err
	}
	info := proto.RegionInfo{ArgSize: proto.RegionInfoSize, Index: request.Index, Size: r.Size}
	if r.Readable {
		info.Flags |= proto.RegionFlagRead
	}
	if r.Writable {
		info.Flags |= proto.RegionFlagWrite
	}
	return body(info.Append(s.buf[:0])), nil
}

// regionFDs returns the doorbells. Those whose descriptors exceed the client's limit
// per message are left out: their writes come by message.
func (s *session) regionFDs(b []byte) (reply, error) {
	request, err := proto.ParseRegionFDs(b)
	if err == nil {
		err = checkArgSize("region io fds", request.ArgSize, proto.RegionFDsSize)
	}
	if err == nil && (request.Flags != 0 || request.Count != 0 || request.ArgSize > proto.MaxTransfer) {
		err = fmt.Errorf("region io fds: flags %#x, count %d, argsz %d: %w", request.Flags, request.Count, request.ArgSize, syscall.EINVAL)
	}
	if err != nil {
		return reply{}, err
	}
	r, err := s.region(request.Index)
	if err != nil {
		return reply{}, err
	}
	if !r.Readable && !r.Writable {
		return reply{}, fmt.Errorf("region io fds: region %d is absent: %w", request.Index, syscall.EINVAL)
	}
	answer := proto.RegionFDs{Index: request.Index}
	var fds fdSet
	for _, d := range r.Doorbells {
		if fds.missing(d.EventFD, d.ShadowFD)+len(fds) > s.client.MaxFDs {
			continue
		}
		answer.Entries = append(answer.Entries, proto.RegionFD{
			Offset: d.Offset, Size: 4, Kind: proto.KindShadowIOEventFD,
			FDIndex: fds.index(d.EventFD), ShadowIndex: fds.index(d.ShadowFD), Shadow: d.Shadow,
		})
	}
	answer.Count = uint32(len(answer.Entries))
	answer.ArgSize = proto.RegionFDsSize + answer.Count*proto.RegionFDSize
	if answer.ArgSize > request.ArgSize {
		answer.Entries, fds = nil, nil
	}
	return reply{parts: [][]byte{answer.Append(s.buf[:0])}, fds: fds}, nil
}

// fdSet collects descriptors for a message, each once.
type fdSet []int

func (f *fdSet) index(fd int) uint32 {
	for i, have := range *f {
		if have == fd {
			return uint32(i)
		}
	}
	*f = append(*f, fd)
	return uint32(len(*f) - 1)
}

func (f fdSet) missing(fds ...int) (n int) {
	for _, fd := range fds {
		have := false
		for _, h := range f {
			have = have || h == fd
		}
		if !have {
			n++
		}
	}
	return n
}

func (s *session) irqInfo(b []byte) (reply, error) {
	request, err := proto.ParseIRQInfo(b)
	if err == nil {
		err = checkArgSize("irq info", request.ArgSize, proto.IRQInfoSize)
	}
	if err != nil {
		return reply{}, err
	}
	info, err := s.host.irqs.info(request.Index)
	if err != nil {
		return reply{}, err
	}
	return body(info.Append(s.buf[:0])), nil
}

func (s *session) setIRQs(m *proto.Message) error {
	request, err := proto.ParseIRQSet(m.Body)
	if err == nil {
		err = s.host.irqs.check(request, m.FDs())
	}
	if err != nil {
		return err
	}
	var eventfds []*proto.EventFD
	for i := range m.FDs() {
		e, err := proto.OpenEventFD(m.FD(i))
		if err != nil {
			for _, e := range eventfds {
				_ = e.Close()
			}
			return err
		}
		m.TakeFD(i)
		eventfds = append(eventfds, e)
	}
	s.dev.Quiesce(func() { s.host.irqs.apply(request, eventfds) })
	if request.Index == irqINTx && request.Flags&proto.IRQActionMask == 0 {
		s.dev.Resample()
	}
	return nil
}

// access checks a read or write against the region's bounds and access rights.
func (s *session) access(a proto.RegionAccess, write bool) error {
	r, err := s.region(a.Region)
	switch {
	case err != nil:
		return err
	case a.Count > proto.MaxTransfer || a.Offset > r.Size || uint64(a.Count) > r.Size-a.Offset:
		return fmt.Errorf("region %d: %d bytes at %#x of %#x: %w", a.Region, a.Count, a.Offset, r.Size, syscall.EINVAL)
	case write && !r.Writable, !write && !r.Readable:
		return fmt.Errorf("region %d does not allow the access: %w", a.Region, syscall.EACCES)
	}
	return nil
}

func (s *session) regionRead(b []byte) (reply, error) {
	a, rest, err := proto.ParseRegionAccess(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("region read: %d bytes too many: %w", len(rest), syscall.EINVAL)
	}
	if err == nil {
		err = s.access(a, false)
	}
	if err != nil {
		return reply{}, err
	}
	out := a.Append(s.buf[:0])
	out = append(out, make([]byte, a.Count)...)
	if a.Count > 0 {
		if err := s.read(a, out[proto.RegionAccessSize:]); err != nil {
			return reply{}, err
		}
	}
	s.reuse(out)
	return body(out), nil
}

func (s *session) regionWrite(b []byte) (reply, error) {
	a, data, err := proto.ParseRegionAccess(b)
	if err == nil {
		err = a.HasData(data)
	}
	if err == nil {
		err = s.write(a, data)
	}
	if err != nil {
		return reply{}, err
	}
	return body(a.Append(s.buf[:0])), nil
}

func (s *session) writeMulti(b []byte) (reply, error) {
	if !s.client.WriteMultiple {
		return reply{}, fmt.Errorf("multi write was not negotiated: %w", syscall.EINVAL)
	}
	writes, err := proto.ParseMulti(b)
	if err != nil {
		return reply{}, err
	}
	for i := range writes.Len() {
		a, data, err := writes.At(i)
		if err == nil {
			err = s.write(a, data)
		}
		if err != nil {
			return reply{}, fmt.Errorf("write %d of %d: %w", i, writes.Len(), err)
		}
	}
	return body(proto.AppendCount(s.buf[:0], uint64(writes.Len()))), nil
}

func (s *session) read(a proto.RegionAccess, p []byte) error {
	return Recover(func() error { return s.dev.ReadRegion(int(a.Region), a.Offset, p) })
}

func (s *session) write(a proto.RegionAccess, p []byte) error {
	if err := s.access(a, true); err != nil || len(p) == 0 {
		return err
	}
	return Recover(func() error { return s.dev.WriteRegion(int(a.Region), a.Offset, p) })
}

func (s *session) dmaMap(m *proto.Message) error {
	request, err := proto.ParseMapDMA(m.Body)
	if err != nil {
		return err
	}
	shared := m.FDs() > 0
	switch {
	case m.FDs() > 1:
		return fmt.Errorf("dma map: %d descriptors, want one at most: %w", m.FDs(), syscall.EINVAL)
	case !shared && request.Flags&(proto.DMAFlagMmap|proto.DMAFlagFileIO) != 0:
		return fmt.Errorf("dma map: flags %#x want a descriptor: %w", request.Flags, syscall.EINVAL)
	}
	table := &s.host.dma
	if err := table.check(request.Address, request.Size, shared); err != nil {
		return err
	}
	span := span{
		first: request.Address, size: request.Size,
		read: request.Flags&proto.DMAFlagRead != 0, write: request.Flags&proto.DMAFlagWrite != 0,
	}
	if shared {
		span.mem, span.view, err = s.host.files.share(m.FD(0), request.Offset, request.Size, span.write)
		if err != nil {
			return fmt.Errorf("dma map at %#x: %w", request.Address, err)
		}
	}
	s.dev.Quiesce(func() { table.add(span) })
	return nil
}

// dmaUnmap unmaps a range. A range that is not mapped is no error: QEMU unmaps
// ranges that it has not mapped when the IOMMU is switched on.
func (s *session) dmaUnmap(b []byte) (reply, error) {
	request, err := proto.ParseUnmapDMA(b)
	if err != nil {
		return reply{}, err
	}
	table := &s.host.dma
	from, n := place{}, table.count
	if request.Flags&proto.UnmapFlagAll == 0 {
		if from, n, err = table.within(request.Address, request.Size); err != nil {
			return reply{}, err
		}
	}
	if n > 0 {
		s.dev.Quiesce(func() { table.remove(from, n) })
	}
	request.ArgSize = proto.UnmapDMASize
	return body(request.Append(s.buf[:0])), nil
}

// reuse keeps a reply's buffer for the next one, unless it is large.
func (s *session) reuse(b []byte) {
	if cap(b) <= 64<<10 {
		s.buf = b
	}
}

// errNo maps a device's error to the errno for the client: the one it wraps, EFAULT
// for a fault in client memory.
func errNo(err error) error {
	var fault *Fault
	if errors.As(err, &fault) {
		return syscall.EFAULT
	}
	return err
}
