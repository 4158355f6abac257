package stream

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// shared is one of a stream's memories as it is handed to a listener.
type shared struct {
	fd    int
	bytes uint64
	page  uint64 // page size, to which mappings are aligned
}

// grant is what a listener gets when it is attached: its slot, and the memories
// in which it finds all else.
type grant struct {
	name    string
	options Options
	id      uint64
	number  int

	searching bool // no aligned start was there

	data, control, cursor shared
}

// grant describes a slot. The descriptors remain the stream's and the slot's.
func (s *Stream) grant(sl *slot, o Options) grant {
	return grant{
		name: sl.name, options: o, id: sl.id, number: sl.number, searching: sl.searching,
		data:    shared{s.data.Fd(), uint64(s.data.Len()), uint64(s.data.PageSize())},
		control: shared{s.control.Fd(), uint64(s.control.Len()), uint64(s.control.PageSize())},
		cursor:  shared{sl.page.Fd(), pageBytes, pageBytes},
	}
}

// lend is grant with descriptors of the caller's own, to be closed. Those of the
// stream are closed by whoever detaches the listener or closes the stream
// meanwhile, and could be other files' then.
func (s *Stream) lend(sl *slot, o Options) (g grant, fds []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.final != nil {
		return g, nil, fmt.Errorf("%w: %s", ErrDetached, sl.final.DetachReason)
	}
	if s.closed {
		return g, nil, errors.New("stream is closed")
	}
	g = s.grant(sl, o)
	for _, m := range []*shared{&g.data, &g.control, &g.cursor} {
		if m.fd, err = unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return g, fds, fmt.Errorf("duplicate a descriptor: %w", err)
		}
		fds = append(fds, m.fd)
	}
	return g, fds, nil
}

// open maps the three memories and begins where the cursor page says. It keeps
// none of the descriptors.
func open(g grant, t tie) (_ *Listener, err error) {
	pid, uid := ours()
	l := &Listener{
		name: g.name, id: g.id, number: g.number, searching: g.searching, tie: t,
		pid: pid, uid: uid, since: time.Now(), detachAfter: g.options.DetachAfter,
	}
	defer func() {
		if err != nil {
			l.unmap()
		}
	}()
	if g.number < 0 || g.number >= MaxListeners {
		return nil, fmt.Errorf("slot %d of %d", g.number, MaxListeners)
	}
	const size, contents = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW, unix.F_SEAL_FUTURE_WRITE
	for _, m := range []struct {
		what    string
		to      *mapping
		of      shared
		seals   int
		copies  int
		prot    int
		atLeast uint64
	}{
		{"control memory", &l.controlMap, g.control, size | contents, 1, unix.PROT_READ, tableAt},
		{"data memory", &l.dataMap, g.data, size | contents, 2, unix.PROT_READ, Block},
		{"cursor page", &l.cursorMap, g.cursor, size, 1, unix.PROT_READ | unix.PROT_WRITE, pageBytes},
	} {
		if err = m.of.check(m.seals, m.atLeast); err == nil {
			*m.to, err = mapShared(m.of.fd, int(m.of.bytes), m.copies, int(m.of.page), m.prot)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.what, err)
		}
	}
	// A copy: what has been checked is what is used.
	h := *viewHeader(l.controlMap.mem)
	if err = h.check(g.data.bytes, g.control.bytes); err != nil {
		return nil, fmt.Errorf("control memory: %w", err)
	}
	c := viewControl(l.controlMap.mem, &h)
	l.view = view{data: l.dataMap.mem, mask: g.data.bytes - 1, starts: c.starts, index: c.index, cur: c.cursors}
	l.account = viewCursor(l.cursorMap.mem)
	l.begin()
	l.refs.Store(1)
	return l, nil
}

// begin takes the place that the stream has written into the cursor page.
func (l *Listener) begin() {
	a, _ := l.account.snapshot()
	l.startAt, l.given, l.ahead = a.start, a.position, a.position
	l.visible, l.blocks.seq = a.position.seq, a.position.seq
	w := l.account.Mode.Load()
	l.mode.Store(w)
	if Policy(w&1) == Lossy {
		l.beLossy()
	}
}

// maxShared is more memory than any stream has, and few enough bytes that two
// copies fit into an address space.
const maxShared = 1 << 44

// check says whether a memory is what it is said to be, whoever made it. After
// that nobody can take its pages away, which would kill who touches them: its
// size is sealed, and where nothing may be written nothing can be punched out.
func (m *shared) check(seals int, atLeast uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return fmt.Errorf("its descriptor: %w", err)
	}
	has, err := unix.FcntlInt(uintptr(m.fd), unix.F_GET_SEALS, 0)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a memfd")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(m.fd, &fs); err != nil {
		return fmt.Errorf("its file system: %w", err)
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
		// Else mapping it would allocate, at the listener's expense.
		return fmt.Errorf("only %d of its %d bytes are there", st.Blocks*512, m.bytes)
	}
	return nil
}
