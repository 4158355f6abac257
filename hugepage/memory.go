package hugepage

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is a populated memfd mapped into this process. Its addresses never
// change. Close must not run beside another use of the memory.
type Memory struct {
	name     string
	fd       int
	pageSize int
	node     int
	at       addr
	length   int

	mu     sync.Mutex
	sys    calls
	twice  addr // reservation that holds the double mapping
	span   int  // bytes of the reservation, 0: no double mapping yet
	double []byte
	sealed bool
	closed bool
}

// Alloc gives at least that many bytes of zeroed memory, rounded up to whole
// pages. All of it is populated: touching it later neither fails nor faults a
// page in. When huge pages are missing the error, a *MissingError, says how many
// and how to reserve them.
func Alloc(bytes int, o Options) (*Memory, error) {
	return alloc(bytes, o, kernel(), Sysfs)
}

// Bytes is the memory, Len bytes of it; nil after Close.
func (m *Memory) Bytes() []byte {
	if m.closed {
		return nil
	}
	return m.at.bytes(m.length)
}

// Len is the size in bytes, a multiple of PageSize.
func (m *Memory) Len() int { return m.length }

// PageSize is the size of its pages in bytes.
func (m *Memory) PageSize() int { return m.pageSize }

// Node is the NUMA node asked for, AnyNode when the kernel chose.
func (m *Memory) Node() int { return m.node }

// Fd is the memfd. It stays open until Close and belongs to the Memory.
func (m *Memory) Fd() int { return m.fd }

// Name is the name given in Options.
func (m *Memory) Name() string { return m.name }

func alloc(bytes int, o Options, sys calls, sysfs string) (_ *Memory, err error) {
	what := o.Name
	if what == "" {
		what = "ixcap"
	}
	fail := func(step string, err error) error {
		return fmt.Errorf("allocate %d bytes of %s pages for %s: %s: %w", bytes, o.Pages, what, step, err)
	}
	page, err := o.Pages.Bytes()
	if err != nil {
		return nil, fmt.Errorf("allocate memory for %s: %w", what, err)
	}
	if bytes <= 0 || bytes > math.MaxInt-page {
		return nil, fmt.Errorf("allocate memory for %s: %d bytes: want 1 to %d", what, bytes, math.MaxInt-page)
	}
	if o.Node != AnyNode && (o.Node < 0 || o.Node >= maxNodes) {
		return nil, fmt.Errorf("allocate memory for %s: NUMA node %d: want 0 to %d, or %d for any", what, o.Node, maxNodes-1, AnyNode)
	}
	length := (bytes + page - 1) / page * page
	if err := enough(o.Pages, length); err != nil {
		return nil, fail("check free memory", err)
	}

	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	switch o.Pages {
	case Size2M:
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	case Size1G:
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_1GB
	}
	fd, err := sys.memfd(what, flags)
	if err != nil {
		if o.Pages != Ordinary && !supported(sysfs, o.Pages) {
			err = fmt.Errorf("%w: this kernel or processor has no pages of that size", err)
		}
		return nil, fail("memfd_create", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sys.close(fd))
		}
	}()
	if err := sys.truncate(fd, int64(length)); err != nil {
		return nil, fail("ftruncate", err)
	}

	// missing turns a refusal into what the user can do about it. The pages of
	// this attempt are counted as used by now, hence taken.
	missing := func(step string, err error) error {
		if o.Pages == Ordinary {
			return fail(step, err)
		}
		if lack := diagnose(sysfs, o.Pages, o.Node, length/page); lack != nil {
			lack.For, lack.err = what, err
			return lack
		}
		return fail(step, err)
	}
	at, err := sys.mmap(addr{}, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd)
	if err != nil {
		if errors.Is(err, unix.ENOMEM) {
			return nil, missing("mmap", err)
		}
		return nil, fail("mmap", err)
	}
	mapped := true
	unmap := func() error {
		if !mapped {
			return nil
		}
		mapped = false
		return sys.munmap(at, length)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unmap())
		}
	}()
	if o.Node != AnyNode {
		// A kernel built without NUMA has one node and no such call.
		if err := sys.mbind(at, length, o.Node); err != nil && !(o.Node == 0 && errors.Is(err, unix.ENOSYS)) {
			return nil, fail(fmt.Sprintf("bind to NUMA node %d (online: %s)", o.Node, onlineNodes(sysfs)), err)
		}
	}
	if err := populate(sys, at, length); err != nil {
		// Giving back what was populated first makes the counts true.
		if !errors.Is(err, unix.EFAULT) && !errors.Is(err, unix.ENOMEM) {
			return nil, fail("populate", err)
		}
		if uerr := errors.Join(unmap(), sys.truncate(fd, 0)); uerr != nil {
			return nil, fail("populate", errors.Join(err, uerr))
		}
		return nil, missing("populate", err)
	}
	if err := sys.madvise(at, length, unix.MADV_DONTDUMP); err != nil {
		return nil, fail("keep out of core dumps", err)
	}
	return &Memory{name: what, fd: fd, pageSize: page, node: o.Node, at: at, length: length, sys: sys}, nil
}

// populate makes every page of a mapping present and writable.
func populate(sys calls, at addr, length int) error {
	err := sys.madvise(at, length, unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("madvise(MADV_POPULATE_WRITE), which needs Linux 5.14: %w", err)
	}
	return err
}

// MapTwice maps the memory once more, twice in a row: byte i and byte Len+i of
// the 2*Len bytes are the same, so what wraps around the end of the memory can be
// used in one piece. Asking again gives the same slice. It is unmapped by Close.
// It must come before SealFutureWrite.
func (m *Memory) MapTwice() (_ []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fmt.Errorf("map %s twice: memory is closed", m.name)
	}
	if m.double != nil {
		return m.double, nil
	}
	if m.sealed {
		return nil, fmt.Errorf("map %s twice: memory is sealed against further writable mappings", m.name)
	}
	if m.length > (math.MaxInt-m.pageSize)/2 {
		return nil, fmt.Errorf("map %s twice: %d bytes are too many", m.name, m.length)
	}
	// Address space for two copies, plus a page to align the first one in.
	span := 2*m.length + m.pageSize
	base, err := m.sys.mmap(addr{}, span, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, -1)
	if err != nil {
		return nil, fmt.Errorf("map %s twice: reserve %d bytes of address space: %w", m.name, span, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.sys.munmap(base, span))
		}
	}()
	first := base
	if past := base.past(m.pageSize); past != 0 {
		first = base.plus(m.pageSize - past)
	}
	for _, at := range []addr{first, first.plus(m.length)} {
		if _, err := m.sys.mmap(at, m.length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED, m.fd); err != nil {
			return nil, fmt.Errorf("map %s twice: mmap: %w", m.name, err)
		}
		// The pages exist; this fills the page tables, so that no fault is left for the hot path.
		if err := populate(m.sys, at, m.length); err != nil {
			return nil, fmt.Errorf("map %s twice: populate: %w", m.name, err)
		}
		if err := m.sys.madvise(at, m.length, unix.MADV_DONTDUMP); err != nil {
			return nil, fmt.Errorf("map %s twice: keep out of core dumps: %w", m.name, err)
		}
	}
	m.twice, m.span, m.double = base, span, first.bytes(2*m.length)
	return m.double, nil
}

// SealFutureWrite lets nobody who gets the descriptor write the memory or change
// its size, for ever. Mappings that exist stay writable. Sealing again is fine.
func (m *Memory) SealFutureWrite() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("seal %s: memory is closed", m.name)
	}
	if err := m.sys.seal(m.fd, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		return fmt.Errorf("seal %s: %w", m.name, err)
	}
	m.sealed = true
	return nil
}

// Close unmaps the memory and closes the descriptor. The pages are free once
// nobody else maps them. Closing again does nothing.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var errs []error
	if m.span != 0 {
		m.double = nil
		errs = append(errs, m.sys.munmap(m.twice, m.span))
	}
	errs = append(errs, m.sys.munmap(m.at, m.length), m.sys.close(m.fd))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", m.name, err)
	}
	return nil
}
