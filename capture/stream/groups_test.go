package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// storeUDP stores and publishes frames of UDP, numbered from first on.
func storeUDP(t *testing.T, s *Stream, first, count int) {
	for n := first; n < first+count; n++ {
		require.True(t, s.Producer().Append(1, uint32(n), udpFrame(uint32(n)), 0))
	}
	s.Producer().Publish()
}

// readNow returns the numbers of the frames that a listener gets without a wait.
func readNow(t *testing.T, l *Listener) (all []uint32) {
	t.Helper()
	packets := make([]Packet, batchSize)
	for {
		n, _ := l.TryReadBatch(packets) // 0 after an error, too
		if n == 0 {
			return all
		}
		for _, p := range packets[:n] {
			require.True(t, intact(p.Data[udpFilled:], p.Nsec))
			all = append(all, p.Nsec)
		}
	}
}

// settle waits for the end of departures and handovers.
func settle(t *testing.T, s *Stream) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.Producer().Publish()
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.groups.departures) == 0 && s.groups.handover == nil
	}, timeout, tick)
}

func groupOf(t *testing.T, s *Stream) GroupStats {
	t.Helper()
	st := s.Stats()
	require.Len(t, st.Groups, 1)
	require.NoError(t, st.Groups[0].Balanced())
	return st.Groups[0]
}

func joined(t *testing.T, s *Stream, text string, o Options) *Listener {
	t.Helper()
	o.Fanout = text
	return listen(t, s, o)
}

func TestJoinIsRefusedWithWhatTheGroupHas(t *testing.T) {
	s := newStream(t, Config{})
	joined(t, s, "group=2\nmode=lb\ntunnels=gre\ndeparted=count", Options{})
	joined(t, s, "group=2", Options{})
	for text, want := range map[string]string{
		"group=2\nmode=hash":             "group 2 has mode lb, not hash",
		"group=2\ntunnels=vxlan":         "group 2 has tunnels gre, not vxlan",
		"group=2\ndeparted=redistribute": "group 2 has departed count, not redistribute",
		"group=2\nthreshold=5":           "group 2 has mode lb: leave the threshold out",
		"group=2\nfilter=udp":            "group 2 has mode lb: leave the filter out",
		"group=70000":                    "must be a number, 0 to 65535",
		"group=3\nmode=filter":           "mode filter: write filter=EXPRESSION",
	} {
		_, err := s.Listen("late", Options{Fanout: text})
		require.ErrorContains(t, err, want, text)
	}
	_, err := s.Listen("late", Options{Fanout: "group=2", Aligned: true})
	require.ErrorContains(t, err, "begins with the next frame")
	for i := range 7 {
		joined(t, s, fmt.Sprintf("group=%d", 10+i), Options{})
	}
	_, err = s.Listen("late", Options{Fanout: "group=99"})
	require.ErrorContains(t, err, "8 fan-out groups have members already")
	l := joined(t, s, "group=10\nmember=x", Options{})
	_, err = l.ReadBlock(t.Context(), 1000)
	require.ErrorContains(t, err, "reads packets")
	require.Len(t, s.Stats().Listeners, 10)
}

func TestGroupWithoutMembersMakesRoomForAnother(t *testing.T) {
	s := newStream(t, Config{})
	var first *Listener
	for i := range 8 {
		l := joined(t, s, fmt.Sprintf("group=%d\nmode=lb", i), Options{})
		if i == 0 {
			first = l
		}
	}
	storeUDP(t, s, 0, 10)
	require.Len(t, readNow(t, first), 10)
	require.NoError(t, first.Close())
	settle(t, s)
	storeUDP(t, s, 10, 10)
	g := s.Stats().Groups[0]
	require.EqualValues(t, 10, g.WithoutMembers)
	require.NoError(t, g.Balanced())
	again := joined(t, s, "group=0\nmode=rnd", Options{}) // with other settings
	storeUDP(t, s, 20, 5)
	require.Len(t, readNow(t, again), 5)
	g = s.Stats().Groups[0]
	require.Equal(t, "rnd", g.Mode)
	require.EqualValues(t, 10, g.WithoutMembers)
	require.NoError(t, g.Balanced())
	require.NoError(t, again.Close())
	settle(t, s)
	other := joined(t, s, "group=99\nmode=hash", Options{})
	storeUDP(t, s, 25, 5)
	require.Len(t, readNow(t, other), 5)
	g = s.Stats().Groups[0]
	require.Equal(t, 99, g.Group)
	require.EqualValues(t, 25, g.WithoutMembers)
	require.NoError(t, g.Balanced())
}

// Members take each frame once, the others are skipped, and both are in the account.
func TestMembersShareFrames(t *testing.T) {
	for _, policy := range []Policy{Lossless, Lossy} {
		s := newStream(t, Config{})
		a, b := joined(t, s, "group=1\nmode=lb", Options{Policy: policy}), joined(t, s, "group=1", Options{Policy: policy})
		all := listen(t, s, Options{})
		storeUDP(t, s, 0, 3000)
		var got []uint32
		for range 3 {
			got = append(append(got, readNow(t, a)...), readNow(t, b)...)
		}
		slices.Sort(got)
		require.Len(t, got, 3000)
		require.Len(t, slices.Compact(got), 3000)
		require.Len(t, readNow(t, all), 3000)
		for _, l := range []*Listener{a, b} {
			st := l.Stats()
			require.NoError(t, st.Balanced())
			require.EqualValues(t, 1500, st.Read)
			require.EqualValues(t, 1500, st.Skipped)
			require.Equal(t, s.Stats().Bytes, st.ReadBytes+st.SkippedBytes)
		}
		g := groupOf(t, s)
		require.EqualValues(t, 3000, g.Stored)
		for _, m := range g.Members {
			require.EqualValues(t, 1500, m.Assigned)
			require.Zero(t, m.Unread)
		}
		require.Zero(t, s.Stats().CorruptCursors)
	}
}

// What is published of each member's frames is what the ledger has, also of members that
// have the number of another that left.
func TestAssignedFramesArePublished(t *testing.T) {
	s := newStream(t, Config{})
	c := s.view.cursors
	stored := 0
	store := func(frames int) {
		storeUDP(t, s, stored, frames)
		stored += frames
	}
	a, b := joined(t, s, "group=1\nmode=hash\ndeparted=count", Options{Policy: Lossy}), joined(t, s, "group=1", Options{Policy: Lossy})
	joined(t, s, "group=2\nmode=lb", Options{Policy: Lossy})
	store(5000)
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool {
		store(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.groups.departures) == 0 && s.groups.handover == nil
	}, timeout, tick)
	next := joined(t, s, "group=1", Options{Policy: Lossy})
	require.Equal(t, a.member.number, next.member.number)
	require.Positive(t, next.account.AssignedBefore.Load())
	require.Zero(t, b.account.AssignedBefore.Load())
	store(3000)
	require.Positive(t, c.AssignedSeq.Load(), "it is published while frames arrive")
	require.LessOrEqual(t, c.AssignedSeq.Load(), c.IndexHead.Load())
	s.Producer().Finish()
	require.Equal(t, c.IndexHead.Load(), c.AssignedSeq.Load())
	require.Zero(t, c.AssignedVersion.Load()%2)
	published := func(l *Listener) uint64 {
		return c.Assigned[l.member.group*assignedRow+int(l.member.number)].Load() - l.account.AssignedBefore.Load()
	}
	groups := s.Stats().Groups
	for _, m := range groups[0].Members {
		l := map[uint8]*Listener{b.member.number: b, next.member.number: next}[m.Number]
		require.Equal(t, m.Assigned, published(l))
		require.Positive(t, m.Assigned)
	}
	require.EqualValues(t, stored, c.Assigned[groups[1].Slot*assignedRow+int(groups[1].Members[0].Number)].Load())
}

// What a loop over Packets has not returned is not read, and comes again.
func TestMemberContinuesAfterABreak(t *testing.T) {
	s := newStream(t, Config{})
	a := joined(t, s, "group=1\nmode=lb", Options{})
	joined(t, s, "group=1", Options{Policy: Lossy})
	storeUDP(t, s, 0, 100)
	for p := range a.Packets(testContext(t)) {
		if p.Nsec == 20 {
			break
		}
	}
	st := a.Stats()
	require.EqualValues(t, 11, st.Read)
	require.EqualValues(t, 10, st.Skipped)
	require.NoError(t, st.Balanced())
	require.Equal(t, uint32(22), readNow(t, a)[0])
}

func TestUnreadFramesOfADepartedMember(t *testing.T) {
	for _, departed := range []string{"redistribute", "count"} {
		t.Run(departed, func(t *testing.T) {
			s := newStream(t, Config{})
			a := joined(t, s, "group=1\nmode=lb\ndeparted="+departed, Options{})
			b := joined(t, s, "group=1", Options{})
			c := joined(t, s, "group=1", Options{})
			storeUDP(t, s, 0, 300)
			packets := make([]Packet, 10)
			n, err := a.ReadBatch(testContext(t), packets)
			require.NoError(t, err)
			require.NoError(t, a.Close()) // these 10 count as read
			got := []uint32{0, 3, 6, 9, 12, 15, 18, 21, 24, 27}
			require.Equal(t, 10, n)
			require.Eventually(t, func() bool {
				storeUDP(t, s, int(s.Stats().Frames), 1)
				got = append(append(got, readNow(t, b)...), readNow(t, c)...)
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.groups.departures) == 0 && s.groups.handover == nil
			}, timeout, tick)
			got = append(append(got, readNow(t, b)...), readNow(t, c)...)
			slices.Sort(got)
			require.Equal(t, slices.Compact(slices.Clone(got)), got, "no frame comes twice")
			g := groupOf(t, s)
			require.EqualValues(t, 1, g.DepartedMembers)
			require.EqualValues(t, 10, g.DepartedSum.Read)
			sum := g.Sum()
			if departed == "count" {
				require.EqualValues(t, 90, g.DepartedSum.Unread)
				require.Len(t, got, int(g.Stored)-90)
				return
			}
			require.EqualValues(t, 90, g.DepartedSum.Redistributed)
			require.EqualValues(t, 90, sum.Handed)
			require.Len(t, got, int(g.Stored))
			require.Zero(t, g.HandedLost+g.HandedUnread)
		})
	}
}

// The number of a departed member is given to another one, which gets none of the old
// frames.
func TestNumbersAreUsedAgain(t *testing.T) {
	s := newStream(t, Config{})
	keep := joined(t, s, "group=1\nmode=lb", Options{})
	for n := range 200 { // more than there are numbers
		l := joined(t, s, "group=1", Options{})
		storeUDP(t, s, 10*n, 10)
		require.Len(t, readNow(t, l), 5)
		require.NoError(t, l.Close())
		s.Producer().Publish()
		readNow(t, keep)
		settle(t, s)
	}
	g := groupOf(t, s)
	require.EqualValues(t, 200, g.DepartedMembers)
	require.EqualValues(t, 1000, g.DepartedSum.Read)
}

// A lossless member that hangs holds back a handover's frames for a second, and others
// get theirs.
func TestHandoverGoesOnWithoutAMemberThatHangs(t *testing.T) {
	s := newStream(t, Config{Size: 2 * Block})
	hung := joined(t, s, "group=1\nmode=lb", Options{})
	a := joined(t, s, "group=1", Options{})
	b := joined(t, s, "group=1", Options{})
	storeUDP(t, s, 0, 300)
	require.NoError(t, a.Close())
	s.Producer().Publish()
	got := map[uint32]bool{}
	require.Eventually(t, func() bool {
		for _, n := range readNow(t, b) {
			require.False(t, got[n])
			got[n] = true
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.groups.handover != nil && s.groups.handover.ghost == nil
	}, timeout, tick)
	require.Len(t, got, 150, "its own 100 frames, and half of the other's")
	require.EqualValues(t, 50, groupOf(t, s).HandedUnread)
	// The next departure ends the handover.
	require.NoError(t, b.Close())
	settleWithout := func() bool {
		s.Producer().Publish()
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.groups.departures) == 0
	}
	require.Eventually(t, settleWithout, timeout, tick)
	own := readNow(t, hung)
	require.Len(t, own, 100, "what was for it in the handover is lost")
	g := groupOf(t, s)
	require.EqualValues(t, 50, g.HandedLost)
}

// A lossy member that is overrun loses its own frames only.
func TestOverrunOfAMemberCostsNoOther(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	slow := joined(t, s, "group=1\nmode=lb", Options{Policy: Lossy})
	fast := joined(t, s, "group=1", Options{})
	storeUDP(t, s, 0, 100)
	lost, read := 0, len(readNow(t, slow))
	total := 100
	got := len(readNow(t, fast))
	for range 40 {
		storeUDP(t, s, total, 500)
		total += 500
		got += len(readNow(t, fast))
	}
	require.Equal(t, total/2, got)
	read += len(readNow(t, slow))
	lost = total/2 - read
	g := groupOf(t, s)
	require.Positive(t, lost)
	require.EqualValues(t, lost, g.Sum().Overrun)
	require.NoError(t, slow.Stats().Balanced())
}

// A member that the stream detaches stops at once, and its frames go to the others.
func TestDetachedMemberStops(t *testing.T) {
	s := newStream(t, Config{})
	a := joined(t, s, "group=1\nmode=lb", Options{})
	b := joined(t, s, "group=1", Options{})
	storeUDP(t, s, 0, 200)
	var got []uint32
	for p := range a.Packets(testContext(t)) {
		got = append(got, p.Nsec)
		if len(got) == 10 {
			require.NoError(t, s.Detach(a.id, ""))
		}
	}
	require.ErrorIs(t, a.Err(), ErrDetached)
	require.Len(t, got, 10)
	for n := 0; n < 190-54; {
		s.Producer().Publish()
		more := readNow(t, b)
		n += len(more)
		got = append(got, more...)
	}
	settle(t, s)
	slices.Sort(got)
	require.Equal(t, slices.Compact(slices.Clone(got)), got)
	g := groupOf(t, s)
	require.EqualValues(t, 9, g.DepartedSum.Read, "the tenth was not done with")
	require.EqualValues(t, 55, g.DepartedSum.InHand, "the rest of what it had claimed")
	require.EqualValues(t, 36, g.DepartedSum.Redistributed)
}

// After the end of the capture members read what is theirs, also when the server has
// detached them.
func TestMembersReadOnAfterTheEnd(t *testing.T) {
	s := newStream(t, Config{})
	srv, _ := serve(t, s, ServerConfig{})
	var all []*Listener
	for range 2 {
		all = append(all, attachTo(t, srv, Options{Fanout: "group=1\nmode=lb"}))
	}
	storeUDP(t, s, 0, 200)
	s.Producer().Finish()
	require.NoError(t, srv.Close())
	for i, l := range all {
		got := 0
		for p := range l.Packets(testContext(t)) {
			require.EqualValues(t, 2*got+i, p.Nsec)
			got++
		}
		require.NoError(t, l.Err())
		require.Equal(t, 100, got)
	}
	g := groupOf(t, s)
	require.Zero(t, g.Sum().Redistributed)
}

func TestMemberIsMadeLossyAndLosslessAgain(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	l := joined(t, s, "group=1\nmode=lb", Options{})
	joined(t, s, "group=1", Options{Policy: Lossy})
	total, read := 0, 0
	for i := range 20 {
		policy := Policy(i % 2)
		require.NoError(t, s.SetPolicy(l.id, policy, 0))
		require.Eventually(t, func() bool { read += len(readNow(t, l)); return l.Policy() == policy }, timeout, tick)
		storeUDP(t, s, total, 1000)
		total += 1000
		for p := range l.Packets(shortContext(t)) {
			_ = p
			read++
		}
		require.True(t, l.Err() == nil || errors.Is(l.Err(), ErrOverrun) || l.Err().Error() == "context deadline exceeded", l.Err())
	}
	require.Eventually(t, func() bool { read += len(readNow(t, l)); return l.Stats().Unread == 0 }, timeout, time.Millisecond)
	sum := groupOf(t, s)
	require.EqualValues(t, read, sum.Members[0].Read)
	require.EqualValues(t, total/2-read, sum.Members[0].Overrun)
	require.Zero(t, s.Stats().CorruptCursors)
}

// Whatever a member writes to its page, the stream goes on, its account balances, and
// other members get their frames.
func TestMemberWithACorruptPageHarmsNoOther(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	s := newStream(t, Config{Size: Block})
	good := joined(t, s, "group=1\nmode=lb", Options{})
	other := joined(t, s, "group=1", Options{Policy: Lossy})
	var next, got int
	store := func() {
		for n := range 64 {
			s.Producer().appendWait(t, 1, uint32(next+n), udpFrame(uint32(next+n)))
		}
		next += 64
		s.Producer().Publish()
	}
	for range 300 {
		bad, err := s.Listen("bad", Options{Policy: Policy(r.IntN(2)), Fanout: "group=1"})
		require.NoError(t, err)
		store()
		if r.IntN(2) == 0 {
			readNow(t, bad)
		}
		for range 1 + r.IntN(3) {
			word := []int{0, 8, 152, 160, 168, 184, 200, 216, 256, 264, 272, 280, 288, 296}[r.IntN(14)]
			v := r.Uint64() >> r.IntN(64)
			if r.IntN(2) == 0 {
				v = uint64(max(0, next-r.IntN(200)))
			}
			binary.LittleEndian.PutUint64(bad.cursorMap.mem[word:], v)
		}
		switch r.IntN(3) {
		case 0:
			require.NoError(t, bad.Close())
		case 1:
			_ = s.Detach(bad.id, "") // it may have been found corrupt
		default:
			s.mu.Lock()
			if att := s.attached[bad.slot]; att != nil {
				s.detach(att, reasonExited)
			}
			s.mu.Unlock()
		}
		require.NoError(t, bad.Close())
		for range 5 {
			s.Producer().Publish()
			got += len(readNow(t, good))
			readNow(t, other)
		}
	}
	require.Eventually(t, func() bool {
		s.Producer().Publish()
		got += len(readNow(t, good))
		readNow(t, other)
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.groups.departures) == 0 && s.groups.handover == nil
	}, timeout, tick)
	g := groupOf(t, s)
	require.EqualValues(t, next, g.Stored)
	require.EqualValues(t, got, g.Members[0].Read+g.Members[0].Handed)
	require.Zero(t, g.Members[0].Unread)
	require.EqualValues(t, 300, g.DepartedMembers)
}
