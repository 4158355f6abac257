package hugepage

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is a populated memfd mapped into this process. Its addresses never
// change. Close must not run concurrently with another use of the memory.
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
	holds  int // that Close has not ended
	closed bool
}

// Bytes returns the memory, Len bytes; nil after Close.
func (m *Memory) Bytes() []byte {
	if m.closed {
		return nil
	}
	return m.at.bytes(m.length)
}

// Len returns the size in bytes, a multiple of PageSize.
func (m *Memory) Len() int { return m.length }

// PageSize returns the size of its pages in bytes.
func (m *Memory) PageSize() int { return m.pageSize }

// Node returns the NUMA node of the Options.
func (m *Memory) Node() int { return m.node }

// Fd returns the memfd. The Memory owns it and closes it in Close.
func (m *Memory) Fd() int { return m.fd }

// Name returns the name of the Options.
func (m *Memory) Name() string { return m.name }

// MapTwice adds a mapping that has the memory twice in a row: byte i and byte Len+i
// of its 2*Len bytes are the same, so that data which wraps around the end of the
// memory is contiguous. Further calls return the same slice. Close unmaps it.
// MapTwice must be called before SealFutureWrite.
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
		// The pages exist. This fills the page tables, so that the receive path takes no page fault.
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

// SealFutureWrite makes the memory read-only for new mappings and fixes its size,
// permanently, for all processes. Existing mappings stay writable. Sealing again
// does nothing.
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

// Hold gives the memory one more owner: it stays until each has called Close once.
func (m *Memory) Hold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("hold %s: memory is closed", m.name)
	}
	m.holds++
	return nil
}

// Close unmaps the memory and closes the descriptor, if the memory has no other owner (Hold).
// The kernel frees the pages when no other process maps them. Closing again does nothing.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if m.holds > 0 {
		m.holds--
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
