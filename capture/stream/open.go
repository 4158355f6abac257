package stream

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/fanout"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// shared is one of a stream's memories, as a listener gets it.
type shared struct {
	fd    int
	bytes uint64
	page  uint64 // page size, to which mappings are aligned
}

// grant is what a listener gets from the stream: its slot and the memories.
type grant struct {
	name    string
	options Options
	id      uint64
	slot    int

	searching bool // no aligned start was there when it attached

	group, member uint8 // slot of its fan-out group and number there; noGroup: none

	data, control, cursor shared
}

// grant returns the grant for an attachment. The descriptors belong to the stream.
func (s *Stream) grant(att *attachment, o Options) grant {
	group, number := uint8(noGroup), uint8(0)
	if m := att.member; m != nil {
		group, number = uint8(m.group.slot), m.number
	}
	return grant{
		name: att.name, options: o, id: att.id, slot: att.slot, searching: att.searching,
		group: group, member: number,
		data:    shared{s.data.Fd(), uint64(s.data.Len()), uint64(s.data.PageSize())},
		control: shared{s.control.Fd(), uint64(s.control.Len()), uint64(s.control.PageSize())},
		cursor:  shared{att.page.Fd(), pageBytes, pageBytes},
	}
}

// dupGrant is grant with duplicates of the descriptors, which the caller closes.
// Another goroutine may detach the listener or close the stream at any time, and
// the stream's descriptors with it.
func (s *Stream) dupGrant(att *attachment, o Options) (g grant, fds []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if att.final != nil {
		return g, nil, fmt.Errorf("%w: %s", ErrDetached, att.final.DetachReason)
	}
	if s.closed {
		return g, nil, ErrStreamClosed
	}
	g = s.grant(att, o)
	for _, m := range []*shared{&g.data, &g.control, &g.cursor} {
		if m.fd, err = unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return g, fds, fmt.Errorf("duplicate a descriptor: %w", err)
		}
		fds = append(fds, m.fd)
	}
	return g, fds, nil
}

// open maps the three memories and returns a listener that begins where its cursor
// page says. It keeps none of the descriptors.
func open(g grant, t link) (_ *Listener, err error) {
	pid, uid := selfIDs()
	l := &Listener{
		name: g.name, id: g.id, slot: g.slot, searching: g.searching, link: t,
		pid: pid, uid: uid, since: time.Now(), detachAfter: g.options.DetachAfter,
	}
	defer func() {
		if err != nil {
			l.unmap()
		}
	}()
	if g.slot < 0 || g.slot >= MaxListeners {
		return nil, fmt.Errorf("slot %d of %d", g.slot, MaxListeners)
	}
	if g.options.Fanout != "" {
		if g.group >= entry.Groups || g.member == 0 || g.member > fanout.MaxMember {
			return nil, fmt.Errorf("member %d of the group in slot %d of %d", g.member, g.group, entry.Groups)
		}
		l.member = &memberReader{group: int(g.group), number: g.member}
		l.scratch = make([]byte, 4*MaxRecord)
	}
	const size, contents = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW, unix.F_SEAL_FUTURE_WRITE
	if l.controlMap, err = g.control.mapped(size|contents, 1, unix.PROT_READ, tableAt); err != nil {
		return nil, fmt.Errorf("control memory: %w", err)
	}
	// A copy: the capture cannot change it after the check.
	h := *viewHeader(l.controlMap.mem)
	if err = h.check(g.data.bytes, g.control.bytes); err != nil {
		return nil, fmt.Errorf("control memory: %w", err)
	}
	copies := 2 // so that no record wraps
	if h.PoolBytes != 0 {
		copies = 1
	}
	if l.dataMap, err = g.data.mapped(size|contents, copies, unix.PROT_READ, pageBytes); err != nil {
		return nil, fmt.Errorf("data memory: %w", err)
	}
	if l.cursorMap, err = g.cursor.mapped(size, 1, unix.PROT_READ|unix.PROT_WRITE, pageBytes); err != nil {
		return nil, fmt.Errorf("cursor page: %w", err)
	}
	c := viewControl(l.controlMap.mem, &h)
	l.view = newView(l.dataMap.mem, &h, c)
	if l.pool.stride != 0 {
		l.scratch = make([]byte, 4*MaxRecord)
	}
	l.account = viewCursor(l.cursorMap.mem)
	l.begin()
	l.refs.Store(1)
	return l, nil
}

// begin loads the start and the policy that the stream has stored in the cursor page.
func (l *Listener) begin() {
	a, _ := l.account.snapshot()
	l.startAt, l.released, l.next = a.start, a.position, a.position
	l.visible, l.blocks.seq = a.position.seq, a.position.seq
	if l.member != nil {
		l.member.done = l.account.HandoversDone.Load()
	}
	w := l.account.Mode.Load()
	l.mode.Store(w)
	if Policy(w&1) == Lossy {
		l.setLossy()
	}
}

// mapped maps a memory copies times in a row, if it passes check.
func (m *shared) mapped(seals, copies, prot int, atLeast uint64) (mapping, error) {
	if err := m.check(seals, atLeast); err != nil {
		return mapping{}, err
	}
	return mapShared(m.fd, int(m.bytes), copies, int(m.page), prot)
}

// maxShared is larger than any stream's memory; two mappings of it fit into an
// address space.
const maxShared = 1 << 44

// check returns an error unless a memory has the size, page size and seals that it
// should have, whatever process made it. A memory that passes cannot lose pages,
// which would raise SIGBUS in its readers: its size is sealed, and the seal against
// writing also prevents punching holes.
func (m *shared) check(seals int, atLeast uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return fmt.Errorf("stat its descriptor: %w", err)
	}
	has, err := unix.FcntlInt(uintptr(m.fd), unix.F_GET_SEALS, 0)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a memfd")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(m.fd, &fs); err != nil {
		return fmt.Errorf("stat its file system: %w", err)
	}
	page := uint64(pageBytes)
	if fs.Type == unix.HUGETLBFS_MAGIC {
		page = uint64(fs.Bsize)
	}
	switch {
	case has&seals != seals:
		return fmt.Errorf("its seals are %#x, not %#x", has, seals)
	case m.bytes < atLeast || m.bytes > maxShared || uint64(st.Size) != m.bytes || m.bytes%page != 0:
		return fmt.Errorf("it has %d bytes, not %d", st.Size, m.bytes)
	case page != m.page:
		return fmt.Errorf("its pages have %d bytes, not %d", page, m.page)
	case uint64(st.Blocks)*512 < m.bytes:
		// Mapping the rest would allocate memory for the listener.
		return fmt.Errorf("only %d of its %d bytes are allocated", st.Blocks*512, m.bytes)
	}
	return nil
}
