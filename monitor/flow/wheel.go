package flow

import (
	"math/bits"
	"time"
)

// wheelSlots is the number of lists of a wheel.
const wheelSlots = 256

// wheel orders entries by the time when they expire, to within a slot's span. An entry stays
// where it is when packets come; it is moved when its slot is reached.
type wheel struct {
	shift uint  // a slot's span is 1<<shift ns
	at    int64 // number of the slot reached, since 1970
	slots [wheelSlots]list
	used  [wheelSlots / 64]uint64 // slots that are not empty
}

// list is one of entries, linked by next and prev.
type list struct{ head, tail uint32 }

// setSpan makes a wheel that holds expiries up to a time ahead.
func (w *wheel) setSpan(longest time.Duration) {
	w.shift = uint(bits.Len64(uint64(longest) / (wheelSlots - 2)))
}

// slot is the number of the slot of a time, not before the slot reached.
func (w *wheel) slot(deadline int64) int64 { return max(deadline>>w.shift, w.at) }

// push appends an entry to the slot of its deadline.
func (w *wheel) push(entries []entry, n uint32, deadline int64) {
	at := w.slot(deadline) % wheelSlots
	l, f := &w.slots[at], &entries[n]
	f.next, f.prev, f.slot = 0, l.tail, uint8(at)
	if l.tail == 0 {
		l.head = n
		w.used[at/64] |= 1 << (at % 64)
	} else {
		entries[l.tail].next = n
	}
	l.tail = n
}

// remove takes an entry out of its slot.
func (w *wheel) remove(entries []entry, n uint32) {
	f := &entries[n]
	l := &w.slots[f.slot]
	if f.prev == 0 {
		l.head = f.next
	} else {
		entries[f.prev].next = f.next
	}
	if f.next == 0 {
		l.tail = f.prev
	} else {
		entries[f.next].prev = f.prev
	}
	if l.head == 0 {
		w.used[f.slot/64] &^= 1 << (f.slot % 64)
	}
}

// oldest returns the slot with the earliest deadlines, and how many slots it is ahead of the
// one reached. The wheel is not empty.
func (w *wheel) oldest() (slot, ahead int64) {
	from := w.at % wheelSlots
	word := from / 64
	x := w.used[word] &^ (1<<(from%64) - 1)
	for x == 0 {
		word = (word + 1) % int64(len(w.used))
		x = w.used[word]
	}
	slot = word*64 + int64(bits.TrailingZeros64(x))
	return slot, (slot - from + wheelSlots) % wheelSlots
}
