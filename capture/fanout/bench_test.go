package fanout

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// benchGroups are n groups of mode hash with 4 members each.
func benchGroups(n int) (list []Group) {
	for slot := range n {
		list = append(list, Group{Slot: slot, Mode: Hash, Members: membersOf(4)})
	}
	return list
}

// BenchmarkAssign measures what groups add to the cost of a frame of 60 bytes, in
// batches of 64 that lie in the caches, as a producer's do.
func BenchmarkAssign(b *testing.B) {
	var m memory
	for i := range 4096 {
		e := ends{fmt.Sprintf("10.0.%d.%d", i>>8, i&255), "10.1.0.1", uint16(1024 + i*7), 443}
		m.add(1, append(e.frame(b, layers.IPProtocolTCP), 0, 0, 0, 0, 0, 0)[:60])
	}
	other := benchGroups(8)
	for i := range other {
		other[i].Mode = Hash + Mode(i%int(Rollover-Hash))
	}
	for name, groups := range map[string][]Group{
		"groups=0": nil, "groups=1": benchGroups(1), "groups=8": benchGroups(8), "groups=8/mixed": other,
	} {
		for _, size := range []int{64, 4096} {
			b.Run(fmt.Sprintf("%s/frames=%d", name, size), func(b *testing.B) {
				a := newAssigner(b, groups...)
				at := 0
				for left := b.N; left > 0; left -= 64 {
					a.Assign(m.entries[at:at+64], m.data, memoryMask)
					at = (at + 64) % size
				}
			})
		}
	}
}
