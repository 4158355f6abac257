package test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// storeNumbered stores UDP frames of many flows whose last bytes are the frame's number.
func (s *served) storeNumbered(frames int) {
	s.t.Helper()
	for range frames {
		n := uint32(len(s.packets))
		b := s.gen.Append(nil, uint64(n%100)) // a hundred flows
		b = binary.BigEndian.AppendUint32(b, n)
		s.put(packet{sec: 1700000000 + n/1e6, nsec: n % 1e6 * 1000, len: len(b), data: b}, ring.Frame{Data: b, Len: uint32(len(b))})
	}
	s.Producer().Publish()
}

// group returns the account of the stream's only group.
func (s *served) group() stream.GroupStats {
	s.t.Helper()
	groups := s.Stats().Groups
	require.Len(s.t, groups, 1)
	return groups[0]
}

// members starts n drives in group 2, each with more variables.
func members(t *testing.T, b built, s *served, n int, variables ...string) []*driver {
	t.Helper()
	var out []*driver
	for range n {
		d := b.start(t, append(variables, "PCAP_GROUP=2")...)
		d.open("ixcap:"+s.path, "set_timeout 20")
		out = append(out, d)
	}
	s.attached(n)
	return out
}

// requireAll checks that every frame was delivered exactly once: their number and the sums of
// their numbers and of the squares fit.
func requireAll(t *testing.T, s *served, answers []string) {
	t.Helper()
	frames, sum, squares := 0, uint64(0), uint64(0)
	for _, a := range answers {
		frames += number(t, a, 1)
		var x, y uint64
		_, err := fmt.Sscan(strings.Join(strings.Fields(a)[4:], " "), &x, &y)
		require.NoError(t, err, a)
		sum, squares = sum+x, squares+y
	}
	wantSum, wantSquares := uint64(0), uint64(0)
	for n := range uint64(len(s.packets)) {
		wantSum, wantSquares = wantSum+n, wantSquares+n*n
	}
	require.Equal(t, len(s.packets), frames, "%v", answers)
	require.Equal(t, [2]uint64{wantSum, wantSquares}, [2]uint64{sum, squares}, "no frame twice, none missing")
}

func TestMembersShareEveryFrame(t *testing.T) {
	b := sanitized(t)
	for _, fanout := range []string{"hash", "lb", "rnd", "consistent"} {
		each(t, func(t *testing.T, single func(c stream.Config) *served) {
			s := single(stream.Config{})
			all := members(t, b, s, 4, "PCAP_FANOUT="+fanout, "PCAP_POLICY=lossless")
			for _, d := range all {
				d.send("numbered -1")
			}
			for range 20 {
				s.storeNumbered(200)
				time.Sleep(time.Millisecond)
			}
			s.Producer().Finish()
			var answers []string
			for _, d := range all {
				answers = append(answers, d.receive())
				recv, drop, _ := d.stats()
				require.Equal(t, [2]int{number(t, answers[len(answers)-1], 1), 0}, [2]int{recv, drop})
			}
			requireAll(t, s, answers)
			for i, a := range answers {
				require.Positive(t, number(t, a, 1), "member %d of %v", i, answers)
			}
			for _, d := range all {
				d.end()
			}
			require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 4 }, timeout, time.Millisecond)
			for _, report := range s.Stats().RecentDetached {
				require.NoError(t, report.Balanced())
			}
			g := s.group()
			require.NoError(t, g.Balanced())
			require.EqualValues(t, len(s.packets), g.Sum().Read)
			require.Zero(t, s.Stats().CorruptCursors)
		})
	}
}

// TestFramesOfADeadMemberGoToTheOthers kills a member that has read nothing of what waits.
func TestFramesOfADeadMemberGoToTheOthers(t *testing.T) {
	b := sanitized(t)
	for _, policy := range []string{"lossless", "lossy"} {
		each(t, func(t *testing.T, single func(c stream.Config) *served) {
			killOne(t, b, single(stream.Config{}), policy)
		})
	}
}

func killOne(t *testing.T, b built, s *served, policy string) {
	all := members(t, b, s, 3, "PCAP_FANOUT=lb", "PCAP_POLICY="+policy)
	s.storeNumbered(3000)
	got := []string{all[0].do("numbered 500")} // 500 of its 1000; it is killed with the others unread
	require.NoError(t, all[0].cmd.Process.Signal(syscall.SIGKILL))
	_ = all[0].cmd.Wait()
	s.attached(2)
	require.Eventually(t, func() bool {
		s.Producer().Publish() // as a poller does without frames, too
		return s.group().DepartedSum.Redistributed > 0
	}, timeout, time.Millisecond)
	for _, d := range all[1:] {
		d.send("numbered -1")
	}
	s.storeNumbered(1000)
	require.Eventually(t, func() bool { g := s.group(); return g.HandedUnread == 0 && g.Sum().Unread == 0 }, timeout, time.Millisecond)
	s.Producer().Finish()
	for _, d := range all[1:] {
		got = append(got, d.receive())
		d.end()
	}
	requireAll(t, s, got)
	g := s.group()
	require.NoError(t, g.Balanced())
	require.EqualValues(t, 500, g.DepartedSum.Redistributed)
	require.EqualValues(t, 500, g.Sum().Handed)
	require.Zero(t, g.DepartedSum.InHand)
}

func TestMembersJoinAndLeaveDuringTraffic(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{})
		all := members(t, b, s, 2, "PCAP_FANOUT=hash", "PCAP_POLICY=lossless")
		var got []string
		store := func() {
			for range 10 {
				s.storeNumbered(100)
				time.Sleep(time.Millisecond)
			}
		}
		all[0].send("numbered -1")
		all[1].send("numbered 300") // then it leaves in order
		store()
		got = append(got, all[1].receive())
		require.Equal(t, "0", all[1].do("close 0"))
		all[1].end()
		store()
		late := b.start(t, "PCAP_GROUP=2", "PCAP_POLICY=lossless")
		late.open("ixcap:"+s.path, "set_timeout 20")
		late.send("numbered -1")
		store()
		s.Producer().Finish()
		got = append(got, all[0].receive(), late.receive())
		all[0].end()
		late.end()
		requireAll(t, s, got)
		require.Positive(t, number(t, got[2], 1))
		require.NoError(t, func() error { g := s.group(); return g.Balanced() }())
	})
}

// TestHungMemberCostsTheOthersNothing stops a lossy member: the others read everything of theirs.
func TestHungMemberCostsTheOthersNothing(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{Size: stream.Block, Segment: stream.Block})
		all := members(t, b, s, 2, "PCAP_FANOUT=lb")
		require.NoError(t, all[0].cmd.Process.Signal(syscall.SIGSTOP))
		all[1].send("numbered -1")
		for range 60 {
			s.storeNumbered(100)
			require.Eventually(t, func() bool {
				m := s.group().Members
				return min(m[0].Unread, m[1].Unread) < 100
			}, timeout, time.Millisecond)
		}
		require.NoError(t, all[0].cmd.Process.Signal(syscall.SIGCONT))
		all[0].send("numbered -1")
		s.Producer().Finish()
		first, second := all[0].receive(), all[1].receive()
		require.Equal(t, 3000, number(t, second, 1))
		require.Less(t, number(t, first, 1), 3000)
		all[0].end()
		all[1].end()
		require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 2 }, timeout, time.Millisecond)
		g := s.group()
		require.NoError(t, g.Balanced())
		require.EqualValues(t, 6000, g.Sum().Assigned)
		require.EqualValues(t, 6000, g.Sum().Read+g.Sum().Overrun)
		require.Equal(t, number(t, first, 1)+3000, int(g.Sum().Read))
	})
}

// Members that are overrun count as lost what the ledger says of them, on one queue and on two.
func TestLossesOfMembersAreTheLedgers(t *testing.T) {
	b := sanitized(t)
	for _, queues := range []int{1, 2} {
		for _, fanout := range []string{"hash", "lb"} {
			t.Run(fmt.Sprint(queues, fanout), func(t *testing.T) { lose(t, b, queues, fanout) })
		}
	}
}

func lose(t *testing.T, b built, queues int, fanout string) {
	dir := t.TempDir()
	var all []*served
	for i := range queues {
		all = append(all, serve(t, dir, fmt.Sprintf("eth7-queue%d.sock", i), stream.Config{Queue: i, Size: stream.Block, Segment: stream.Block}))
	}
	var drivers []*driver
	for range 2 {
		d := b.start(t, "IXCAP_SHARE="+dir, "PCAP_GROUP=2", "PCAP_FANOUT="+fanout)
		d.open("ixcap:eth7", "set_timeout 20")
		drivers = append(drivers, d)
	}
	store := func(frames int) {
		for _, s := range all {
			s.storeNumbered(frames)
		}
	}
	store(200)
	read := []int{number(t, drivers[0].do("numbered 50"), 1), number(t, drivers[1].do("numbered 20"), 1)}
	for range 5 { // overrun again and again, and read a bit
		store(7000)
		read[0] += number(t, drivers[0].do("numbered 100"), 1)
		recv, drop, _ := drivers[0].stats()
		require.Positive(t, drop)
		require.Equal(t, read[0], recv-drop)
	}
	for _, s := range all {
		s.Producer().Finish()
	}
	for i, d := range drivers {
		read[i] += number(t, d.do("numbered -1"), 1)
		recv, drop, _ := d.stats()
		ledger := stream.MemberStats{}
		for _, s := range all {
			g := s.group()
			require.NoError(t, g.Balanced())
			for _, m := range g.Members {
				if m.Name == fmt.Sprintf("drive.%d.0", d.cmd.Process.Pid) {
					ledger.Assigned += m.Assigned
					ledger.Overrun += m.Overrun
				}
			}
		}
		require.Equal(t, [2]uint64{ledger.Assigned, ledger.Overrun}, [2]uint64{uint64(recv), uint64(drop)})
		require.Equal(t, read[i], recv-drop)
		require.Positive(t, drop)
		d.end()
	}
}

// A frame of a handover that waits for its turn among two queues is counted once it is
// delivered, is filtered by a new filter, and goes to another member if it never is.
func TestWaitingFrameOfAHandover(t *testing.T) {
	b := sanitized(t)
	for _, then := range []string{"filter", "close"} {
		t.Run(then, func(t *testing.T) { handOver(t, b, then) })
	}
}

func handOver(t *testing.T, b built, then string) {
	dir := t.TempDir()
	var queues []*served
	for i := range 2 {
		queues = append(queues, serve(t, dir, fmt.Sprintf("eth7-queue%d.sock", i), stream.Config{Queue: i}))
	}
	each := func(f func(s *served)) {
		for _, s := range queues {
			f(s)
		}
	}
	var all []*driver
	for range 3 {
		d := b.start(t, "IXCAP_SHARE="+dir, "PCAP_GROUP=2", "PCAP_FANOUT=lb", "PCAP_POLICY=lossless")
		d.open("ixcap:eth7", "set_timeout 20")
		all = append(all, d)
	}
	const stored = 300 // 100 for each on each queue
	each(func(s *served) { s.storeNumbered(stored) })
	require.NoError(t, all[0].cmd.Process.Signal(syscall.SIGKILL))
	_ = all[0].cmd.Wait()
	each(func(s *served) {
		s.attached(2)
		require.Eventually(t, func() bool {
			s.Producer().Publish()
			return s.group().DepartedSum.Redistributed > 0
		}, timeout, time.Millisecond)
	})
	read := number(t, all[1].do("numbered 1"), 1) // handed frames come first: that of the other queue waits
	recv, drop, _ := all[1].stats()
	require.Equal(t, [2]int{read, 0}, [2]int{recv, drop})
	if then == "close" {
		require.Equal(t, "0", all[1].do("close 0"))
		each(func(s *served) {
			require.Eventually(t, func() bool {
				s.Producer().Publish()
				return s.group().DepartedMembers == 1 || s.group().DepartedMembers == 2
			}, timeout, time.Millisecond)
		})
	} else {
		require.Equal(t, "0", all[1].do("filter 1 less 1"))
	}
	all[2].send("numbered -1")
	if then == "filter" {
		all[1].send("numbered -1")
	}
	each(func(s *served) {
		require.Eventually(t, func() bool {
			s.Producer().Publish()
			g := s.group()
			return g.HandedUnread == 0 && g.Sum().Unread == 0 && (then == "filter" || g.DepartedMembers == 2)
		}, timeout, time.Millisecond)
		s.Producer().Finish()
	})
	if then == "filter" {
		require.Zero(t, number(t, all[1].receive(), 1), "no frame passes the filter")
	} else {
		read += number(t, all[2].receive(), 1)
		require.Equal(t, 2*stored, read, "no frame twice, none missing")
	}
	each(func(s *served) {
		g := s.group()
		require.NoError(t, g.Balanced())
		require.Zero(t, g.HandedLost)
	})
}
