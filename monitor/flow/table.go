package flow

// ref is where a flow is: the number of its entry or short entry, from 1 on. 0: none.
type ref uint32

const (
	isShort   ref = 1 << 31
	atB       ref = 1 << 30 // the opener is end b: which line of the entry is touched next
	refNumber     = atB - 1
)

// perBucket is how many flows a bucket has.
const perBucket = 7

// bucket is one cache line of the table. A flow is in the bucket of its hash, or in the next
// one with room.
type bucket struct {
	tags   [perBucket]uint32 // upper halves of the hashes
	passed uint32            // flows that are in a later bucket because this one was full
	refs   [perBucket]ref
	_      uint32
}

// table finds flows by their keys.
type table struct {
	buckets []bucket
	mask    uint64
	entries []entry // number 0 is none
	shorts  []short
}

// headOf returns the head of a flow.
func (t *table) headOf(r ref) *head {
	if r&isShort != 0 {
		return &t.shorts[r&refNumber].head
	}
	return &t.entries[r&refNumber].head
}

// candidate returns the first flow with the tag of a hash, without touching it; 0: there is
// none.
func (t *table) candidate(hash uint64) ref {
	tag := uint32(hash >> 32)
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		b := &t.buckets[at]
		for i, x := range b.tags {
			if x == tag && b.refs[i] != 0 {
				return b.refs[i]
			}
		}
		if b.passed == 0 {
			return 0
		}
	}
}

// find returns the flow of a key, 0 if there is none.
func (t *table) find(k *key, hash uint64) ref {
	tag := uint32(hash >> 32)
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		b := &t.buckets[at]
		for i, x := range b.tags {
			if x == tag && b.refs[i] != 0 && t.headOf(b.refs[i]).key.equal(k) {
				return b.refs[i]
			}
		}
		if b.passed == 0 {
			return 0
		}
	}
}

// insert adds a flow that is not there. There is room: the table has more places than there
// are entries.
func (t *table) insert(hash uint64, r ref) {
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		b := &t.buckets[at]
		for i, x := range b.refs {
			if x == 0 {
				b.tags[i], b.refs[i] = uint32(hash>>32), r
				return
			}
		}
		b.passed++
	}
}

// replace puts a flow in the place of another one, or removes it if the new one is 0. The
// flow is in the table.
func (t *table) replace(hash uint64, old, new ref) {
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		b := &t.buckets[at]
		for i, x := range b.refs {
			if x&^atB == old&^atB {
				b.refs[i] = new
				return
			}
		}
		if new == 0 {
			b.passed--
		}
	}
}
