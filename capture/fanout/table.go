package fanout

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"github.com/ixcap/ixcap/capture/stream/entry"
)

const (
	tableBits = 14
	buckets   = 1 << tableBits // of a table: the shares of members are multiples of 1/16384
)

// counter is written by the producer and loaded by any goroutine.
type counter struct{ n uint64 }

func (c *counter) load() uint64 { return atomic.LoadUint64(&c.n) }

// count counts frames and the bytes stored of them, without headers.
type count struct{ frames, bytes counter }

func (c *count) add(frames, bytes uint64) {
	c.frames.add(frames)
	c.bytes.add(bytes)
}

// table maps the upper bits of a hash to the members of several groups:
//
//	hash ─ 14 bits ─▶ index ─▶ word: a member for each slot, and what it was given
//
// Groups that divide by the same hash share a table, so that eight cost as much as
// one. Buckets with the same members share a word: there are few, and a word counts for
// all groups at once.
type table struct {
	slots uint64          // bytes of the members that the table sets: 0xff for each
	index [buckets]uint16 // place among words, times wordScale
	words []word
}

// wordScale is an eighth of the size of a word, so that assembly finds a word by its
// index with one operand.
const wordScale = 4

// word is half a cache line.
type word struct {
	members uint64 // byte g: the member of slot g
	count
	_ uint64
}

// at is the word of a hash.
func (t *table) at(hash uint32) *word { return &t.words[t.index[hash>>(32-tableBits)]/wordScale] }

// give assigns an entry by a hash: to others, too, or with more to the members that it
// has.
func (t *table) give(e *entry.Entry, hash uint32, others uint64, more bool) {
	w := t.at(hash)
	if more {
		others = members(e)
	}
	setMembers(e, others|w.members)
	w.add(1, uint64(e.Caplen))
}

// newTable makes a table of columns: column g holds the members of slot g by bucket.
func newTable(columns map[int][]uint8) *table {
	t := &table{}
	for slot := range columns {
		t.slots |= 0xff << (8 * slot)
	}
	seen := map[uint64]uint16{}
	for b := range buckets {
		members := uint64(0)
		for slot, column := range columns {
			members |= uint64(column[b]) << (8 * slot)
		}
		i, ok := seen[members]
		if !ok {
			i = uint16(len(t.words))
			seen[members] = i
			t.words = append(t.words, word{members: members})
		}
		t.index[b] = i * wordScale
	}
	return t
}

// has reports whether the table sets the members of a slot.
func (t *table) has(slot int) bool { return t.slots>>(8*slot)&0xff != 0 }

// counted is what a member of a slot was given by the table.
func (t *table) counted(slot int, member uint8) (frames, bytes uint64) {
	for i := range t.words {
		if w := &t.words[i]; uint8(w.members>>(8*slot)) == member {
			frames += w.frames.load()
			bytes += w.bytes.load()
		}
	}
	return frames, bytes
}

// addFrames adds the frames that the table has assigned.
func (t *table) addFrames(to *Frames) {
	for i := range t.words {
		w := &t.words[i]
		n := w.frames.load()
		for slot := range to {
			if t.has(slot) {
				to[slot][uint8(w.members>>(8*slot))] += n
			}
		}
	}
}

// inOrder are members by name: the order in which they get shares, so that the streams
// of several queues agree.
func inOrder(members []Member) []Member {
	return slices.SortedStableFunc(slices.Values(members), func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
	})
}

// weights is the sum of the members' weights.
func weights(members []Member) (sum int) {
	for _, m := range members {
		sum += m.Weight
	}
	return sum
}

// contiguous divides the buckets into a range for each member, by weight.
func contiguous(members []Member) []uint8 {
	column := make([]uint8, buckets)
	if len(members) == 0 {
		return column
	}
	all, sum, b := weights(members), 0, 0
	for _, m := range members {
		sum += m.Weight
		for ; b < sum*buckets/all; b++ {
			column[b] = m.Number
		}
	}
	return column
}

// rendezvous gives each bucket to the member with the highest score there. A score
// depends on bucket, name and weight of the member alone, so a member that joins takes
// its share from the others, and they exchange nothing (Thaler and Ravishankar 1998;
// weights as in Schindler and Schomaker 2005).
func rendezvous(members []Member) []uint8 {
	column, best := make([]uint8, buckets), make([]float64, buckets)
	for i, m := range members {
		key := nameHash(m.Name)
		if i > 0 && members[i-1].Name == m.Name {
			key += uint64(m.Number) * keyEnd // two of a name differ
		}
		for b := range column {
			u := mix(key^keyOther, uint64(b+1)*keyEnd)
			u = mix(u^keyFinal, keyEnd)
			score := float64(m.Weight) / -math.Log((float64(u>>11)+0.5)/(1<<53))
			if score > best[b] {
				best[b], column[b] = score, m.Number
			}
		}
	}
	return column
}

// nameHash is FNV-1a.
func nameHash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// turns is the order in which members get frames, so that each gets its weight and
// none several in a row that could go to others: the members' credit grows by their
// weights, and the one with the most spends the sum.
func turns(members []Member) []uint8 {
	divisor := 0
	for _, m := range members {
		divisor = gcd(divisor, m.Weight)
	}
	if divisor == 0 {
		return []uint8{0}
	}
	all := weights(members)
	order, credit := make([]uint8, all/divisor), make([]int, len(members))
	for i := range order {
		most := 0
		for k, m := range members {
			credit[k] += m.Weight
			if credit[k] > credit[most] {
				most = k
			}
		}
		credit[most] -= all
		order[i] = members[most].Number
	}
	return order
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
