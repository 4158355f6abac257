package fanout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// flows are frames of n random flows, and as many in the other direction.
func flows(t testing.TB, n int, seed uint64) (there, back [][]byte) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		e := randomEnds(r, i%4 == 3)
		proto := layers.IPProtocolTCP
		if i%2 == 1 {
			proto = layers.IPProtocolUDP
		}
		there = append(there, e.frame(t, proto))
		back = append(back, e.swapped().frame(t, proto))
	}
	return there, back
}

// requireShares checks that members got their shares of a random distribution, to four
// standard deviations and the grain of a table.
func requireShares(t *testing.T, weights []int, got map[uint8]int, frames int) {
	t.Helper()
	sum := 0
	for _, w := range weights {
		sum += w
	}
	for i, w := range weights {
		share := float64(w) / float64(sum)
		want := share * float64(frames)
		deviation := 4*math.Sqrt(want*(1-share)) + float64(frames)/buckets
		require.InDelta(t, want, got[uint8(i+1)], deviation, "member %d of weight %d: %v", i+1, w, got)
	}
	require.Zero(t, got[0])
}

func TestFlowsAreDividedByWeightAndStayWhole(t *testing.T) {
	there, back := flows(t, 8000, 1)
	for _, mode := range []Mode{Hash, Consistent} {
		for _, weights := range [][]int{{1}, {1, 1}, {1, 1, 1, 1, 1}, {3, 1}, {1, 2, 5}} {
			t.Run(fmt.Sprint(mode, weights), func(t *testing.T) {
				a := newAssigner(t, Group{Mode: mode, Members: membersOf(len(weights), weights...)})
				got := assigned(a, 0, there...)
				requireShares(t, weights, times(got), len(there))
				require.Equal(t, got, assigned(a, 0, back...), "the other direction")
			})
		}
	}
}

func TestOneGroupDoesNotChangeAnother(t *testing.T) {
	there, _ := flows(t, 500, 2)
	var groups []Group
	for slot := range entry.Groups {
		groups = append(groups, Group{Slot: slot, Mode: Hash, Members: membersOf(slot + 1)})
	}
	groups[2].Mode = Consistent
	groups[3].Mode, groups[3].Tunnels = Consistent, AllTunnels
	groups[5].Mode = LB
	groups[6].Mode = QM
	all := newAssigner(t, groups...)
	assigned(all, 0, there...)
	for slot, g := range groups {
		alone := newAssigner(t, g)
		require.Equal(t, assigned(alone, slot, there...), assigned(newAssigner(t, groups...), slot, there...), "slot %d", slot)
		for m := range uint8(slot + 2) {
			f, b := all.Count(slot, m)
			af, ab := alone.Count(slot, m)
			require.Equal(t, [2]uint64{af, ab}, [2]uint64{f, b}, "slot %d member %d", slot, m)
		}
	}
}

// Assigned is what Count returns, over changes of the groups.
func TestAssignedIsCounted(t *testing.T) {
	there, _ := flows(t, 500, 6)
	a := newAssigner(t)
	for n := range 4 {
		var groups []Group
		for slot, mode := range []Mode{Hash, Consistent, LB, QM, RND, Rollover, Buddy} {
			groups = append(groups, Group{Slot: slot, Mode: mode, Members: membersOf(n + slot)})
		}
		_, err := a.Set(groups)
		require.NoError(t, err)
		for range n + 1 {
			assigned(a, 0, there...)
		}
		var got Frames
		a.Assigned(&got)
		for _, g := range groups {
			for _, m := range g.Members {
				frames, _ := a.Count(g.Slot, m.Number)
				require.Equal(t, frames, got[g.Slot][m.Number], "%v, member %d of %d", g.Mode, m.Number, len(g.Members))
			}
		}
	}
}

func TestConsistentMovesOnlyTheShareOfTheMember(t *testing.T) {
	there, _ := flows(t, 10000, 3)
	for _, n := range []int{2, 3, 5, 8, 16} {
		members := membersOf(n)
		before := assigned(newAssigner(t, Group{Mode: Consistent, Members: members}), 0, there...)
		for gone := 0; gone < n; gone += max(1, n/3) {
			rest := slices.Delete(slices.Clone(members), gone, gone+1)
			after := assigned(newAssigner(t, Group{Mode: Consistent, Members: rest}), 0, there...)
			moved := 0
			for i := range after {
				if before[i] == members[gone].Number {
					moved++
				} else {
					require.Equal(t, before[i], after[i], "a flow of a member that stays")
				}
			}
			require.LessOrEqual(t, float64(moved), 1.2/float64(n)*float64(len(there)), "%d members without %d", n, gone)
		}
	}
}

// The order of joining and the numbers of members differ between the streams of several
// queues; their names do not.
func TestStreamsAgreeByName(t *testing.T) {
	there, _ := flows(t, 1000, 4)
	names := func(members []Member, got []uint8) (list []string) {
		of := map[uint8]string{}
		for _, m := range members {
			of[m.Number] = m.Name
		}
		for _, m := range got {
			list = append(list, of[m])
		}
		return list
	}
	for _, mode := range []Mode{Hash, Consistent, LB} {
		one := membersOf(5, 1, 2, 3)
		other := slices.Clone(one)
		slices.Reverse(other)
		for i := range other {
			other[i].Number = uint8(100 + i)
		}
		require.Equal(t,
			names(one, assigned(newAssigner(t, Group{Mode: mode, Members: one}), 0, there...)),
			names(other, assigned(newAssigner(t, Group{Mode: mode, Members: other}), 0, there...)), mode)
	}
}

func TestTwoMembersOfOneNameShare(t *testing.T) {
	there, _ := flows(t, 4000, 5)
	two := membersOf(2)
	two[1].Name = two[0].Name
	for _, mode := range []Mode{Hash, Consistent} {
		requireShares(t, []int{1, 1}, times(assigned(newAssigner(t, Group{Mode: mode, Members: two}), 0, there...)), len(there))
	}
}

func TestLBTakesTurnsByWeight(t *testing.T) {
	there, _ := flows(t, 700, 6)
	got := assigned(newAssigner(t, Group{Mode: LB, Members: membersOf(3, 4, 2, 1)}), 0, there...)
	require.Equal(t, map[uint8]int{1: 400, 2: 200, 3: 100}, times(got))
	for at := 0; at+7 <= len(got); at++ {
		require.Equal(t, map[uint8]int{1: 4, 2: 2, 3: 1}, times(got[at:at+7]), "from frame %d on", at)
	}
	equal := assigned(newAssigner(t, Group{Mode: LB, Members: membersOf(3)}), 0, there[:6]...)
	require.Equal(t, []uint8{1, 2, 3, 1, 2, 3}, equal)
}

func TestRNDDividesFramesOfOneFlow(t *testing.T) {
	frame := ends{"10.0.0.1", "10.0.0.2", 1, 2}.frame(t, layers.IPProtocolTCP)
	frames := slices.Repeat([][]byte{frame}, 8000)
	got := assigned(newAssigner(t, Group{Mode: RND, Members: membersOf(3, 1, 1, 2)}), 0, frames...)
	requireShares(t, []int{1, 1, 2}, times(got), len(frames))
	same := 0
	for i := range got[1:] {
		if got[i] == got[i+1] {
			same++
		}
	}
	require.InDelta(t, 0.375*8000, same, 4*math.Sqrt(8000*0.375*0.625), "a frame does not depend on the one before")
}

func TestQueueAndCoreChooseTheMember(t *testing.T) {
	there, _ := flows(t, 10, 7)
	for n := range 5 {
		a := New(Config{Queue: n, CPU: n + 1})
		_, err := a.Set([]Group{
			{Slot: 1, Mode: QM, Members: membersOf(3, 9)},
			{Slot: 7, Mode: CPU, Members: membersOf(3)},
		})
		require.NoError(t, err)
		require.Equal(t, slices.Repeat([]uint8{uint8(n%3 + 1)}, 10), assigned(a, 1, there...))
		require.Equal(t, slices.Repeat([]uint8{uint8((n+1)%3 + 1)}, 10), assigned(a, 7, there...))
		f, b := a.Count(1, uint8(n%3+1))
		require.EqualValues(t, 20, f)
		require.NotZero(t, b)
	}
}

func TestRolloverGoesOnWhenAMemberIsBacklogged(t *testing.T) {
	there, _ := flows(t, 10, 8)
	full := map[uint8]bool{}
	a := New(Config{Backlog: func(slot int, m uint8) float64 {
		if slot == 3 && full[m] {
			return 0.51
		}
		return 0.5
	}})
	_, err := a.Set([]Group{{Slot: 3, Mode: Rollover, Members: membersOf(3)}})
	require.NoError(t, err)
	next := func(want uint8) {
		t.Helper()
		require.Equal(t, slices.Repeat([]uint8{want}, 10), assigned(a, 3, there...))
	}
	next(1)
	full[1] = true
	next(2)
	full[1] = false
	next(2) // it stays
	full[2], full[3] = true, true
	next(1)
	full[1] = true
	next(1) // all are
	full[3] = false
	next(3)
	_, err = a.Set([]Group{{Slot: 3, Mode: Rollover, Members: membersOf(4)[1:]}})
	require.NoError(t, err)
	next(3)
}

func TestBuddyGivesToTheShortestAboveTheThreshold(t *testing.T) {
	there, _ := flows(t, 10, 8)
	backlog := [MaxMember + 1]float64{}
	a := New(Config{Queue: 4, Backlog: func(slot int, m uint8) float64 {
		require.Equal(t, 5, slot)
		return backlog[m]
	}})
	group := Group{Slot: 5, Mode: Buddy, Threshold: 0.2, Members: membersOf(3)}
	_, err := a.Set([]Group{group})
	require.NoError(t, err)
	next := func(want uint8) {
		t.Helper()
		require.Equal(t, slices.Repeat([]uint8{want}, 10), assigned(a, 5, there...))
	}
	next(2) // queue 4 of 3 members
	backlog = [MaxMember + 1]float64{0, 0.1, 0.2, 0.05}
	next(2)
	backlog[2] = 0.21
	next(3)
	backlog[3] = 0.15
	next(1)
	backlog[1], backlog[3] = 0.9, 0.21
	next(2) // none is shorter
	backlog[2] = 0.2
	next(2) // its own again
	frames, _ := a.Count(5, 2)
	require.EqualValues(t, 40, frames)
	group.Members = nil
	_, err = a.Set([]Group{group})
	require.NoError(t, err)
	next(0)
}

func TestFilterGivesToTheFirstThatMatches(t *testing.T) {
	member := func(n uint8, name, expression string) Member {
		f, err := pcapfilter.Compile(expression)
		require.NoError(t, err)
		return Member{Number: n, Name: name, Weight: 1, Filter: f}
	}
	frame := func(port uint16, proto layers.IPProtocol) []byte {
		return ends{"10.0.0.1", "10.0.0.2", 40000, port}.frame(t, proto)
	}
	a := newAssigner(t, Group{Slot: 2, Mode: Filter, Members: []Member{member(5, "z", "tcp port 80"), member(2, "a", "tcp"), member(9, "b", "udp port 53")}})
	got := assigned(a, 2, frame(80, layers.IPProtocolTCP), frame(443, layers.IPProtocolTCP), frame(53, layers.IPProtocolUDP), frame(54, layers.IPProtocolUDP))
	require.Equal(t, []uint8{5, 2, 9, 0}, got)
	f, _ := a.Count(2, 0)
	require.EqualValues(t, 1, f, "frames that no expression matches")
}

func TestAGroupWithoutMembersAssignsNothing(t *testing.T) {
	there, _ := flows(t, 100, 9)
	for mode := Hash; mode < modes; mode++ {
		a := newAssigner(t, Group{Slot: 4, Mode: mode})
		require.Equal(t, make([]uint8, 100), assigned(a, 4, there...), mode)
		f, b := a.Count(4, 0)
		require.EqualValues(t, 100, f, mode)
		require.NotZero(t, b)
		f, _ = a.Count(0, 0)
		require.Zero(t, f)
	}
}

func TestAssignOverwritesTheMembersOfBefore(t *testing.T) {
	there, _ := flows(t, 3, 10)
	var m memory
	for _, f := range there {
		m.add(1, f)
	}
	for i := range m.entries {
		m.entries[i].Member = [entry.Groups]uint8{9, 9, 9, 9, 9, 9, 9, 9}
	}
	a := New(Config{})
	m.assign(a, 0)
	require.Equal(t, [entry.Groups]uint8{}, m.entries[0].Member)
	for mode := Hash; mode < modes; mode++ {
		_, err := a.Set([]Group{{Slot: 1, Mode: mode}})
		require.NoError(t, err)
		m.entries[1].Member = [entry.Groups]uint8{9, 9, 9, 9, 9, 9, 9, 9}
		m.assign(a, 1)
		require.Equal(t, [entry.Groups]uint8{}, m.entries[1].Member, mode)
	}
}

func TestSetIsInForceFromTheNextAssignOn(t *testing.T) {
	there, _ := flows(t, 100, 11)
	a := New(Config{})
	require.Zero(t, a.Applied())
	first, err := a.Set([]Group{{Mode: Hash, Members: membersOf(1)}})
	require.NoError(t, err)
	require.Zero(t, a.Applied(), "no Assign yet")
	a.Assign(nil, nil, 0)
	require.Equal(t, first, a.Applied(), "also one of no entries")
	assigned(a, 0, there...)

	_, err = a.Set([]Group{{Mode: Hash, Members: membersOf(2)[1:]}})
	require.NoError(t, err)
	third, err := a.Set([]Group{{Mode: LB, Members: membersOf(3)[2:]}})
	require.NoError(t, err)
	require.Equal(t, first, a.Applied())
	assigned(a, 0, there...)
	require.Equal(t, third, a.Applied(), "the last one counts")
	for m, want := range map[uint8]uint64{0: 0, 1: 100, 2: 0, 3: 100} {
		f, b := a.Count(0, m)
		require.Equal(t, want, f, "member %d: counts outlive a change", m)
		require.Equal(t, want != 0, b != 0)
	}
	_, err = a.Set([]Group{{Mode: Hash, Members: []Member{{Number: 127, Weight: 1}}}})
	require.Error(t, err)
	assigned(a, 0, there...)
	require.Equal(t, third, a.Applied(), "a wrong group changes nothing")
}

func TestSetRefusesWrongGroups(t *testing.T) {
	one := func(change func(*Group)) []Group {
		g := Group{Mode: Hash, Members: membersOf(2)}
		change(&g)
		return []Group{g}
	}
	for name, groups := range map[string][]Group{
		"slot 8":           one(func(g *Group) { g.Slot = 8 }),
		"slot -1":          one(func(g *Group) { g.Slot = -1 }),
		"one slot twice":   append(one(func(*Group) {}), one(func(*Group) {})...),
		"no mode":          one(func(g *Group) { g.Mode = Unset }),
		"unknown mode":     one(func(g *Group) { g.Mode = modes }),
		"number 0":         one(func(g *Group) { g.Members[1].Number = 0 }),
		"number 127":       one(func(g *Group) { g.Members[1].Number = 127 }),
		"one number twice": one(func(g *Group) { g.Members[1].Number = 1 }),
		"weight 0":         one(func(g *Group) { g.Members[1].Weight = 0 }),
		"weight 256":       one(func(g *Group) { g.Members[1].Weight = 256 }),
		"no filter":        one(func(g *Group) { g.Mode = Filter }),
	} {
		_, err := New(Config{}).Set(groups)
		require.Error(t, err, name)
	}
}

func TestPickIsTheRuleSetLast(t *testing.T) {
	there, _ := flows(t, 200, 12)
	a := newAssigner(t, Group{Slot: 1, Mode: Hash, Members: membersOf(3)}, Group{Slot: 2, Mode: LB, Members: membersOf(2)})
	want := assigned(a, 1, there...)
	pick := func(slot int, frame []byte) uint8 {
		return a.Pick(slot, &entry.Entry{Offset: 77, Caplen: uint16(len(frame)), Len: uint16(len(frame))}, record(1, frame))
	}
	before, _ := a.Count(1, want[0])
	for i, f := range there {
		require.Equal(t, want[i], pick(1, f))
		require.Zero(t, pick(0, f), "no group")
	}
	after, _ := a.Count(1, want[0])
	require.Equal(t, before, after, "Pick counts nothing")
	require.NotEqual(t, pick(2, there[0]), pick(2, there[0]), "turns")

	_, err := a.Set([]Group{{Slot: 1, Mode: Hash, Members: membersOf(3)[2:]}})
	require.NoError(t, err)
	require.EqualValues(t, 3, pick(1, there[0]), "set, though no Assign has it")
}

// Set, Count and Pick go on while a producer assigns; no frame is lost to the counts.
func TestCountsAreWholeWhileGroupsChange(t *testing.T) {
	there, _ := flows(t, 64, 13)
	a := New(Config{Backlog: func(int, uint8) float64 { return 1 }})
	var m memory
	for _, f := range there {
		m.add(1, f)
	}
	_, err := a.Set([]Group{{Mode: Hash, Members: membersOf(1)}})
	require.NoError(t, err)
	one := m.entries[0]
	const batches = 1000
	var producer sync.WaitGroup
	producer.Go(func() {
		for range batches {
			a.Assign(m.entries, m.data, memoryMask)
		}
	})
	all := func() (sum uint64) {
		for n := range uint8(MaxMember + 1) {
			f, _ := a.Count(0, n)
			sum += f
		}
		return sum
	}
	last := uint64(0)
	for i := range 100 {
		_, err := a.Set([]Group{{Mode: Hash + Mode(i)%Rollover, Members: membersOf(i % 5)}})
		require.NoError(t, err)
		a.Pick(0, &one, m.data)
		now := all()
		require.GreaterOrEqual(t, now, last, "counts only grow")
		last = now
	}
	producer.Wait()
	require.EqualValues(t, batches*64, all())
}

func TestAssignDoesNotAllocate(t *testing.T) {
	there, _ := flows(t, 64, 14)
	var m memory
	for _, f := range there {
		m.add(1, f)
	}
	f, err := pcapfilter.Compile("tcp")
	require.NoError(t, err)
	var groups []Group
	for mode := Hash; mode < modes; mode++ {
		members := membersOf(3)
		for i := range members {
			members[i].Filter = f
		}
		groups = append(groups, Group{Slot: len(groups) % entry.Groups, Mode: mode, Tunnels: AllTunnels, Members: members})
	}
	for some := range slices.Chunk(groups, entry.Groups) {
		a := newAssigner(t, some...)
		require.Zero(t, testing.AllocsPerRun(100, func() { a.Assign(m.entries, m.data, memoryMask) }))
	}
}
