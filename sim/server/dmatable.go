package server

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// maxMapped limits the address space of this process that one client's ranges take,
// bytes: a sparse file can exceed the 128 TiB of a process.
const maxMapped = 16 << 40

// chunkMax is the maximum of spans in a chunk of the table.
const chunkMax = 256

// span is one DMA range of the client.
type span struct {
	first, size uint64    // IOVA range; never wraps
	read, write bool      // what the device may do
	mem         []byte    // shared memory, nil when the range is by message
	view        *fileView // behind mem
}

func (s *span) has(iova uint64) bool { return iova-s.first < s.size }

func (s *span) last() uint64 { return s.first + (s.size - 1) }

func (s *span) allows(write bool) bool { return write && s.write || !write && s.read }

// dmaTable holds a client's ranges by address. The worker changes it inside
// Device.Quiesce; between changes only the device thread reads it.
//
// A VM with an IOMMU maps each packet buffer, so there can be tens of thousands of
// ranges. They lie in chunks, so that an insertion moves few:
//
//	chunks  [ span span span ] [ span span ] [ span span span span ]   ascending
type dmaTable struct {
	chunks [][]span // none is empty
	count  int
	mapped uint64

	// recent caches two spans, since a queue alternates between its descriptors and
	// its buffers. next is the one to replace.
	recent [2]*span
	next   int
}

// place is the position of a span, or where it would be inserted.
type place struct{ chunk, i int }

// find returns the span that holds iova, nil if there is none. The pointer is valid
// until the table changes.
func (t *dmaTable) find(iova uint64) *span {
	if s := t.recent[0]; s != nil && s.has(iova) {
		return s
	}
	if s := t.recent[1]; s != nil && s.has(iova) {
		return s
	}
	return t.lookup(iova)
}

// lookup is find without the cache, which it updates.
func (t *dmaTable) lookup(iova uint64) *span {
	s := t.at(t.search(iova))
	if s == nil || !s.has(iova) {
		return nil
	}
	t.recent[t.next], t.next = s, 1-t.next
	return s
}

// search returns the place of the first span that ends at or after iova.
func (t *dmaTable) search(iova uint64) place {
	c, _ := slices.BinarySearchFunc(t.chunks, iova, func(chunk []span, iova uint64) int {
		return cmp.Compare(chunk[len(chunk)-1].last(), iova)
	})
	if c == len(t.chunks) {
		return place{chunk: c}
	}
	i, _ := slices.BinarySearchFunc(t.chunks[c], iova, func(s span, iova uint64) int { return cmp.Compare(s.last(), iova) })
	return place{c, i}
}

// at returns the span at a place, nil after the last one.
func (t *dmaTable) at(p place) *span {
	if p.chunk == len(t.chunks) {
		return nil
	}
	return &t.chunks[p.chunk][p.i]
}

func (t *dmaTable) after(p place) place {
	if p.i++; p.i == len(t.chunks[p.chunk]) {
		return place{chunk: p.chunk + 1}
	}
	return p
}

// check returns an error if a range cannot be added.
func (t *dmaTable) check(first, size uint64, shared bool) error {
	if t.count >= proto.MaxMaps {
		return fmt.Errorf("dma map: %d ranges are mapped already: %w", t.count, syscall.ENOSPC)
	}
	if shared && size > maxMapped-min(t.mapped, maxMapped) {
		return fmt.Errorf("dma map: %#x bytes more than the %#x mapped: %w", size, t.mapped, syscall.ENOSPC)
	}
	if s := t.at(t.search(first)); s != nil && s.first <= first+(size-1) {
		return fmt.Errorf("dma map: %#x+%#x overlaps %#x+%#x: %w", first, size, s.first, s.size, syscall.EEXIST)
	}
	return nil
}

// add inserts a range. check must have returned nil.
func (t *dmaTable) add(s span) {
	t.count++
	t.mapped += uint64(len(s.mem))
	t.recent = [2]*span{}
	p := t.search(s.first)
	if p.chunk == len(t.chunks) {
		if p.chunk == 0 {
			t.chunks = append(t.chunks, []span{s})
			return
		}
		p = place{p.chunk - 1, len(t.chunks[p.chunk-1])}
	}
	chunk := slices.Insert(t.chunks[p.chunk], p.i, s)
	t.chunks[p.chunk] = chunk
	if len(chunk) > chunkMax {
		half := len(chunk) / 2
		t.chunks = slices.Insert(t.chunks, p.chunk+1, slices.Clone(chunk[half:]))
		clear(chunk[half:])
		t.chunks[p.chunk] = chunk[:half]
	}
}

// within returns the number of spans in a range and the place of the first. A range
// that contains part of a span is an error.
func (t *dmaTable) within(first, size uint64) (from place, n int, err error) {
	last := first + (size - 1)
	from = t.search(first)
	for p := from; ; p = t.after(p) {
		s := t.at(p)
		if s == nil || s.first > last {
			return from, n, nil
		}
		if s.first < first || s.last() > last {
			return from, 0, fmt.Errorf("dma unmap: %#x+%#x contains part of %#x+%#x: %w", first, size, s.first, s.size, syscall.EINVAL)
		}
		n++
	}
}

// remove removes n spans from a place on and unmaps their memory.
func (t *dmaTable) remove(from place, n int) {
	t.recent = [2]*span{}
	t.count -= n
	for n > 0 {
		chunk := t.chunks[from.chunk]
		k := min(n, len(chunk)-from.i)
		for _, s := range chunk[from.i : from.i+k] {
			t.mapped -= uint64(len(s.mem))
			s.view.release()
		}
		if chunk = slices.Delete(chunk, from.i, from.i+k); len(chunk) == 0 {
			t.chunks = slices.Delete(t.chunks, from.chunk, from.chunk+1)
		} else {
			t.chunks[from.chunk] = chunk
			from.chunk++
		}
		from.i, n = 0, n-k
	}
}
