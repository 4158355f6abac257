package vfiouser

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/internal/mmio"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// opening lets accesses to memory that can be unmapped pass, until close has
// been called; close waits for those inside. Accesses wait for nobody.
//
// enter adds to users and then loads closed, close stores closed and then loads
// users, all sequentially consistent: one of the two sees the other.
type opening struct {
	users  atomic.Int64
	closed atomic.Bool
}

func (o *opening) enter() bool {
	o.users.Add(1)
	if o.closed.Load() {
		o.users.Add(-1)
		return false
	}
	return true
}

func (o *opening) leave() { o.users.Add(-1) }

// close waits until nobody is inside, for limit at most. What runs inside is a
// load, a store, or a write to an eventfd; the last can block if the server has
// made it so and filled it, in which case free makes room. False: somebody still
// is inside, so the memory must stay.
func (o *opening) close(limit time.Duration, free func()) bool {
	o.closed.Store(true)
	for begin := time.Now(); o.users.Load() != 0; {
		runtime.Gosched()
		if spent := time.Since(begin); spent > limit {
			return false
		} else if spent > time.Millisecond {
			free()
			time.Sleep(time.Millisecond)
		}
	}
	return true
}

// doorbell is a register that is written through shadow memory and an eventfd.
// Padding keeps doorbells of different queues off each other's cache lines.
type doorbell struct {
	shadow *uint32 // in one of the region's files
	event  *proto.EventFD
	open   opening
	_      [64]byte
}

// ring is the path of a ring's tail register. The store is ordered behind the
// caller's earlier stores by mmio.Store32, and before the server's load by the
// eventfd: the server reads the counter, then the shadow.
func (b *doorbell) ring(v uint32) {
	if !b.open.enter() {
		return
	}
	mmio.Store32(b.shadow, v)
	b.event.Signal()
	b.open.leave()
}

// files are the server's files behind a region's doorbells.
type files struct {
	events  map[uint32]*proto.EventFD // by index in the reply
	shadows map[uint32]*proto.Mapping
}

func (f *files) close() (err error) {
	if f == nil {
		return nil
	}
	for _, e := range f.events {
		err = errors.Join(err, e.Close())
	}
	for _, s := range f.shadows {
		err = errors.Join(err, s.Close())
	}
	return err
}

// maxShadow bounds the shadow memory of one file, bytes.
const maxShadow = 1 << 20

// findDoorbells asks the server which registers want no message. A server that
// does not know the command has none.
func (r *region) findDoorbells() error {
	s := subject{command: proto.GetRegionFDs, what: "region", index: uint64(r.Index)}
	m, list, err := r.regionFDs(s, infoRoom)
	if err == nil && list.ArgSize > infoRoom {
		r.d.recycle(m)
		m, list, err = r.regionFDs(s, list.ArgSize) // what does not fit now is done without
	}
	if err != nil {
		if r.d.gone.Load() || m != nil {
			return err
		}
		return nil
	}
	defer r.d.recycle(m)
	if err := r.takeDoorbells(m, list.Entries); err != nil {
		return s.wrap(err) // Close gives back what was taken
	}
	return nil
}

// regionFDs gives a message along with an error when the message is the error's
// cause; it is recycled already.
func (r *region) regionFDs(s subject, room uint32) (*proto.Message, proto.RegionFDs, error) {
	var list proto.RegionFDs
	if room > proto.MaxTransfer {
		return new(proto.Message), list, s.wrap(fmt.Errorf("server wants to send %d bytes of description", room))
	}
	m, err := r.d.call(s, nil, proto.RegionFDs{ArgSize: room, Index: uint32(r.Index)}.Append(nil))
	if err != nil {
		return nil, list, err
	}
	list, err = proto.ParseRegionFDs(m.Body)
	if err == nil && list.Index != uint32(r.Index) {
		err = fmt.Errorf("server answers for region %d", list.Index)
	}
	if err != nil {
		r.d.recycle(m)
		return new(proto.Message), list, s.wrap(err)
	}
	return m, list, nil
}

// takeDoorbells takes over the shadow ioeventfds among the entries.
func (r *region) takeDoorbells(m *proto.Message, entries []proto.RegionFD) error {
	r.files = &files{events: map[uint32]*proto.EventFD{}, shadows: map[uint32]*proto.Mapping{}}
	r.bells = map[uint32]*doorbell{}
	extent := map[uint32]uint64{} // bytes needed of each shadow file
	var shadows []proto.RegionFD
	for _, e := range entries {
		// Flags would make the write conditional (a value to match, port I/O);
		// such an entry, and any but a 32-bit register, goes by message.
		if e.Kind != proto.KindShadowIOEventFD || e.Flags != 0 || e.Size != 4 && e.Size != 0 {
			continue
		}
		switch {
		case e.Offset%4 != 0 || e.Offset > uint64(r.Size()) || uint64(r.Size())-e.Offset < 4:
			return fmt.Errorf("doorbell at %#x of %#x bytes", e.Offset, r.Size())
		case uint64(e.FDIndex) >= uint64(m.FDs()) || uint64(e.ShadowIndex) >= uint64(m.FDs()):
			return fmt.Errorf("doorbell at %#x: descriptors %d and %d of %d", e.Offset, e.FDIndex, e.ShadowIndex, m.FDs())
		case e.Shadow%4 != 0 || e.Shadow >= maxShadow:
			return fmt.Errorf("doorbell at %#x: shadow at %#x", e.Offset, e.Shadow)
		case e.Offset > allOnes:
			continue // beyond what Store32 can name
		}
		extent[e.ShadowIndex] = max(extent[e.ShadowIndex], e.Shadow+4)
		shadows = append(shadows, e)
	}
	for i, size := range extent {
		mem, err := proto.Map(m.FD(int(i)), 0, size, unix.PROT_READ|unix.PROT_WRITE)
		if err != nil {
			return fmt.Errorf("shadow memory: %w", err)
		}
		r.files.shadows[i] = mem
	}
	for _, e := range shadows {
		event, err := r.event(m, e.FDIndex)
		if err != nil {
			return fmt.Errorf("doorbell at %#x: %w", e.Offset, err)
		}
		shadow := register(r.files.shadows[e.ShadowIndex].Bytes(), e.Shadow)
		r.bells[uint32(e.Offset)] = &doorbell{shadow: shadow, event: event}
	}
	return nil
}

// event opens the eventfd at an index, once: doorbells may share it.
func (r *region) event(m *proto.Message, index uint32) (*proto.EventFD, error) {
	if e := r.files.events[index]; e != nil {
		return e, nil
	}
	if m.FD(int(index)) < 0 {
		return nil, errors.New("descriptor is used twice")
	}
	e, err := proto.OpenEventFD(m.FD(int(index)))
	if err != nil {
		return nil, err
	}
	m.TakeFD(int(index))
	r.files.events[index] = e
	return e, nil
}
