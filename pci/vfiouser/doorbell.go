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

// gate admits accesses to memory until close, which waits for the running ones before
// the memory is unmapped. Accesses never wait.
//
// Memory order, sequentially consistent: enter adds to users (G1), then loads closed
// (G2); close stores closed (G3), then loads users (G4). Either G2 sees G3, or G4 sees
// G1.
type gate struct {
	users  atomic.Int64 // accesses that run
	closed atomic.Bool
}

// enter reports whether an access may run; then leave must follow.

func (g *gate) enter() bool {
	g.users.Add(1)       // G1
	if g.closed.Load() { // G2
		g.users.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.users.Add(-1) }

// close waits until no access runs, at most for limit. An access is a load, a store or a
// write to an eventfd. The last blocks if the server made the eventfd blocking and filled
// its counter; unblock drains it. close returns false if an access still runs: the memory
// must stay mapped.
func (g *gate) close(limit time.Duration, unblock func()) bool {
	g.closed.Store(true)                            // G3
	for begin := time.Now(); g.users.Load() != 0; { // G4
		runtime.Gosched()
		if spent := time.Since(begin); spent > limit {
			return false
		} else if spent > time.Millisecond {
			unblock()
			time.Sleep(time.Millisecond)
		}
	}
	return true
}

// doorbell is a register that is written through shadow memory and an eventfd. The
// padding keeps doorbells of different queues on different cache lines.
type doorbell struct {
	shadow *uint32 // in the region's shadow memory
	event  *proto.EventFD
	gate   gate
	_      [64]byte
}

// ring writes the register, usually a ring's tail. Memory order: the store of the shadow
// (D1) is a release of the caller's earlier stores, by mmio.Store32. The write of the
// eventfd comes after it, and the server reads the eventfd before the shadow, so it sees
// D1.
func (b *doorbell) ring(v uint32) {
	if !b.gate.enter() {
		return
	}
	mmio.Store32(b.shadow, v) // D1
	b.event.Signal()
	b.gate.leave()
}

// doorbellFiles are the server's eventfds and shadow memory of a region's doorbells.
type doorbellFiles struct {
	events  map[uint32]*proto.EventFD // by index in the reply
	shadows map[uint32]*proto.Mapping
}

func (f *doorbellFiles) close() (err error) {
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

// maxShadow is the most shadow memory of one file, in bytes.
const maxShadow = 1 << 20

// findDoorbells reads the region's doorbells. A server without the command has none.
func (r *region) findDoorbells() error {
	s := request{command: proto.GetRegionFDs, what: "region", index: uint64(r.Index)}
	m, list, err := r.regionFDs(s, infoRoom)
	if err == nil && list.ArgSize > infoRoom {
		r.d.recycle(m)
		m, list, err = r.regionFDs(s, list.ArgSize) // entries that still do not fit are ignored
	}
	if err != nil {
		if r.d.lost.Load() || m != nil {
			return err
		}
		return nil
	}
	defer r.d.recycle(m)
	if err := r.addDoorbells(m, list.Entries); err != nil {
		return s.wrap(err) // Close closes the files
	}
	return nil
}

// regionFDs requests the descriptors of a region. With an error it returns a message,
// already recycled, if the message caused the error.
func (r *region) regionFDs(s request, room uint32) (*proto.Message, proto.RegionFDs, error) {
	var list proto.RegionFDs
	if room > proto.MaxTransfer {
		return new(proto.Message), list, s.wrap(fmt.Errorf("%d bytes of description, too many", room))
	}
	m, err := r.d.call(s, nil, proto.RegionFDs{ArgSize: room, Index: uint32(r.Index)}.Append(nil))
	if err != nil {
		return nil, list, err
	}
	list, err = proto.ParseRegionFDs(m.Body)
	if err == nil && list.Index != uint32(r.Index) {
		err = fmt.Errorf("reply for region %d", list.Index)
	}
	if err != nil {
		r.d.recycle(m)
		return new(proto.Message), list, s.wrap(err)
	}
	return m, list, nil
}

// addDoorbells adds the shadow ioeventfds of the entries.
func (r *region) addDoorbells(m *proto.Message, entries []proto.RegionFD) error {
	r.files = &doorbellFiles{events: map[uint32]*proto.EventFD{}, shadows: map[uint32]*proto.Mapping{}}
	r.bells = map[uint32]*doorbell{}
	extent := map[uint32]uint64{} // bytes needed of each shadow file
	var shadows []proto.RegionFD
	for _, e := range entries {
		// Registers with flags (a value to match, port I/O) and registers of other
		// sizes are written by message.
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
			continue // beyond the offsets of Store32
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

// event returns the eventfd at an index. Doorbells may share it.
func (r *region) event(m *proto.Message, index uint32) (*proto.EventFD, error) {
	if e := r.files.events[index]; e != nil {
		return e, nil
	}
	if m.FD(int(index)) < 0 {
		return nil, errors.New("descriptor used twice")
	}
	e, err := proto.OpenEventFD(m.FD(int(index)))
	if err != nil {
		return nil, err
	}
	m.TakeFD(int(index))
	r.files.events[index] = e
	return e, nil
}
