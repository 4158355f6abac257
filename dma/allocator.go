package dma

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
)

// Range is the addresses First to Last, both included, so that a range may end
// at the top of the 64-bit address space. It is empty if Last is below First.
type Range struct{ First, Last IOVA }

func (r Range) String() string { return fmt.Sprintf("%#x-%#x", uint64(r.First), uint64(r.Last)) }

// Allocator allocates I/O virtual addresses, the lowest that fit first. It may be
// used by several goroutines. It allocates address 0 too, unless that is reserved.
type Allocator struct {
	mu   sync.Mutex
	free []Range         // sorted, disjoint, never adjacent, none empty
	used map[IOVA]uint64 // size - 1 by first address, so that all 2^64 bytes fit
}

// NewAllocator returns an allocator for the allowed ranges without the reserved ones.
// Ranges may overlap and come in any order.
func NewAllocator(allowed []Range, reserved []Range) *Allocator {
	return &Allocator{free: subtract(merge(allowed), merge(reserved)), used: map[IOVA]uint64{}}
}

// Alloc allocates size bytes whose first address is a multiple of align, a power of two.
func (a *Allocator) Alloc(size, align uint64) (IOVA, error) {
	if size == 0 {
		return 0, fmt.Errorf("allocate IOVA: size is 0")
	}
	if bits.OnesCount64(align) != 1 {
		return 0, fmt.Errorf("allocate IOVA: alignment %d is not a power of two", align)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, r := range a.free {
		first := r.First
		if past := first & IOVA(align-1); past != 0 {
			up := IOVA(align) - past
			if up > r.Last-first { // also when first+up would overflow
				continue
			}
			first += up
		}
		if IOVA(size-1) > r.Last-first {
			continue
		}
		last := first + IOVA(size-1)
		var left []Range
		if r.First < first {
			left = append(left, Range{r.First, first - 1})
		}
		if last < r.Last {
			left = append(left, Range{last + 1, r.Last})
		}
		a.free = slices.Replace(a.free, i, i+1, left...)
		a.used[first] = size - 1
		return first, nil
	}
	return 0, fmt.Errorf("allocate IOVA: no %d bytes free at a multiple of %#x (largest free range: %s)", size, align, a.largest())
}

// Free frees an allocation by its first address.
func (a *Allocator) Free(first IOVA) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	extent, ok := a.used[first]
	if !ok {
		return fmt.Errorf("free IOVA %#x: not allocated", uint64(first))
	}
	delete(a.used, first)
	r := Range{first, first + IOVA(extent)}
	i, _ := slices.BinarySearchFunc(a.free, r, func(x, y Range) int { return cmp.Compare(x.First, y.First) })
	j := i
	if i > 0 && a.free[i-1].Last+1 == r.First { // r.First > 0: a range lies below it
		i--
		r.First = a.free[i].First
	}
	if j < len(a.free) && r.Last+1 == a.free[j].First { // likewise r.Last is not the top
		r.Last = a.free[j].Last
		j++
	}
	a.free = slices.Replace(a.free, i, j, r)
	return nil
}

func (a *Allocator) largest() string {
	if len(a.free) == 0 {
		return "none"
	}
	return slices.MaxFunc(a.free, func(x, y Range) int { return cmp.Compare(x.Last-x.First, y.Last-y.First) }).String()
}

// merge sorts ranges and joins those that overlap or touch.
func merge(ranges []Range) []Range {
	sorted := slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool { return r.Last < r.First })
	slices.SortFunc(sorted, func(x, y Range) int { return cmp.Compare(x.First, y.First) })
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && (out[n-1].Last == math.MaxUint64 || r.First <= out[n-1].Last+1) {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// subtract returns the parts of from outside holes. Both are merged ranges.
func subtract(from, holes []Range) []Range {
	var out []Range
	for _, r := range from {
		rest := true // r has bytes above the holes compared so far
		for _, h := range holes {
			if h.Last < r.First {
				continue
			}
			if h.First > r.Last {
				break
			}
			if h.First > r.First {
				out = append(out, Range{r.First, h.First - 1})
			}
			if h.Last >= r.Last {
				rest = false
				break
			}
			r.First = h.Last + 1
		}
		if rest {
			out = append(out, r)
		}
	}
	return out
}
