package server

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// maxMapped bounds the address space that one client's ranges may take in this
// process, bytes. A sparse file has any size, and the 128 TiB of a process are
// needed for other things too.
const maxMapped = 16 << 40

// span is one DMA range of the client.
type span struct {
	first, size uint64         // IOVA range; never wraps
	read, write bool           // what the device may do
	mem         []byte         // shared memory, nil when the range is by message
	mapping     *proto.Mapping // behind mem
}

func (s *span) has(iova uint64) bool { return iova-s.first < s.size }

func (s *span) allows(write bool) bool { return write && s.write || !write && s.read }

// dmaTable is a client's ranges, by address. The worker changes it inside
// Device.Quiesce; between changes the device thread alone looks things up.
type dmaTable struct {
	spans  []span
	mapped uint64

	// recent are two spans that were hit lately: a queue goes back and forth
	// between its descriptors and its buffers. next is the one to give up.
	recent [2]*span
	next   int
}

// find gives the span that holds iova, nil when there is none. The pointer may
// be used until the table changes.
func (t *dmaTable) find(iova uint64) *span {
	if s := t.recent[0]; s != nil && s.has(iova) {
		return s
	}
	if s := t.recent[1]; s != nil && s.has(iova) {
		return s
	}
	return t.look(iova)
}

func (t *dmaTable) look(iova uint64) *span {
	i := t.search(iova)
	if i == len(t.spans) || !t.spans[i].has(iova) {
		return nil
	}
	s := &t.spans[i]
	t.recent[t.next], t.next = s, 1-t.next
	return s
}

// search gives the index of the first span that ends at or behind iova.
func (t *dmaTable) search(iova uint64) int {
	i, _ := slices.BinarySearchFunc(t.spans, iova, func(s span, iova uint64) int {
		return cmp.Compare(s.first+(s.size-1), iova)
	})
	return i
}

// check tells whether a range can be added.
func (t *dmaTable) check(first, size uint64, shared bool) error {
	if len(t.spans) >= proto.MaxMaps {
		return fmt.Errorf("dma map: %d ranges are mapped already: %w", len(t.spans), syscall.ENOSPC)
	}
	if shared && size > maxMapped-min(t.mapped, maxMapped) {
		return fmt.Errorf("dma map: %#x bytes more than the %#x mapped: %w", size, t.mapped, syscall.ENOSPC)
	}
	if i := t.search(first); i < len(t.spans) && t.spans[i].first <= first+(size-1) {
		s := &t.spans[i]
		return fmt.Errorf("dma map: %#x+%#x overlaps %#x+%#x: %w", first, size, s.first, s.size, syscall.EEXIST)
	}
	return nil
}

// add inserts a range that check allowed.
func (t *dmaTable) add(s span) {
	t.spans = slices.Insert(t.spans, t.search(s.first), s)
	t.mapped += uint64(len(s.mem))
	t.recent = [2]*span{}
}

// within gives the spans from i up to j that lie in a range; a range that cuts
// through a span is an error.
func (t *dmaTable) within(first, size uint64) (i, j int, err error) {
	last := first + (size - 1)
	i = t.search(first)
	for j = i; j < len(t.spans) && t.spans[j].first <= last; j++ {
		if s := &t.spans[j]; s.first < first || s.first+(s.size-1) > last {
			return 0, 0, fmt.Errorf("dma unmap: %#x+%#x cuts through %#x+%#x: %w", first, size, s.first, s.size, syscall.EINVAL)
		}
	}
	return i, j, nil
}

// remove takes spans i up to j out and unmaps them.
func (t *dmaTable) remove(i, j int) {
	for k := i; k < j; k++ {
		t.mapped -= uint64(len(t.spans[k].mem))
		if m := t.spans[k].mapping; m != nil {
			_ = m.Close() // fails only for a range that is not mapped
		}
	}
	t.spans = slices.Delete(t.spans, i, j)
	t.recent = [2]*span{}
}
