package capture

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

var stampings = []clock.Policy{
	clock.PerPacket, clock.Batch, clock.Uniform, clock.Weighted, clock.Adaptive, clock.Sample(1), clock.Sample(7), clock.Sample(4096),
}

// script is a source of a test's frames, up to a limit, in batches of random length.
type script struct {
	frames [][]byte
	limit  atomic.Int64
	given  int
	r      *rand.Rand
}

func (s *script) Poll(frames []ring.Frame) int {
	n := min(int(s.limit.Load())-s.given, len(frames))
	if s.r != nil && n > 0 {
		n = 1 + s.r.IntN(n)
	}
	for i := range n {
		b := s.frames[s.given]
		frames[i] = ring.Frame{Data: b, Len: uint32(len(b)), Hash: uint32(s.given)}
		s.given++
	}
	return n
}

func (s *script) Release() {}

// udpFrame returns an Ethernet frame of so many bytes to a UDP port, with mark in the
// first bytes after the header.
func udpFrame(size int, port uint16, mark uint64) []byte {
	b := make([]byte, size)
	copy(b, []byte{
		0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,
		0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x10, 0, 0, 0, 0, 26, 0x12, 0x34,
	})
	binary.BigEndian.PutUint16(b[16:], uint16(size-14))
	binary.BigEndian.PutUint16(b[36:], port)
	binary.LittleEndian.PutUint64(b[42:], mark)
	return b
}

func parse(tb testing.TB, text string) *rules.Rules {
	tb.Helper()
	r, err := rules.Parse(text)
	require.NoError(tb, err)
	return r
}

// requireBalanced requires that every polled frame is accounted for.
func requireBalanced(t *testing.T, p *poller, s *stream.Stream) {
	t.Helper()
	c, st := p.counters(), s.Stats()
	require.Equal(t, c.Frames, st.Frames+c.Filtered+c.Duplicates+c.Abandoned+st.Inconsistent+st.TooLong+st.Late, "%+v %+v", c, st)
	counts := p.ruleCounts()
	if len(counts) == 0 {
		return
	}
	var frames, bytes uint64
	for _, r := range counts {
		frames += r.Frames
		bytes += r.Bytes
	}
	require.Equal(t, c.Frames, frames, "%+v", counts)
	require.Equal(t, c.Bytes, bytes, "%+v", counts)
}

// Every policy, with and without the other steps of the pipeline: the stream has the
// expected frames, in order, cut as configured, with monotonic stamps within the
// time of the capture.
func TestPipelineStoresTheExpectedFramesUnderEveryPolicy(t *testing.T) {
	const n = 6000
	for _, policy := range stampings {
		for name, c := range map[string]struct {
			rules  string
			dedup  bool
			caplen int
		}{
			"stamps only": {}, "cut": {caplen: 100}, "rules": {rules: "(port 53) drop; (port 80) 64; (port 443) 200", caplen: 150},
			"dedup": {dedup: true}, "all": {rules: "(port 53) drop; (port 80) 64", dedup: true, caplen: 150},
		} {
			t.Run(policy.String()+"/"+name, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				src := &script{r: r}
				type stored struct {
					mark uint64
					kept int
				}
				var want []stored
				var dropped, copies, cut uint64
				last := map[int]int{} // last stored frame, by port
				for i := range n {
					port := []int{53, 80, 443, 999}[r.IntN(4)]
					again, known := last[port]
					if known && r.IntN(3) == 0 { // a duplicate of an earlier frame
						src.frames = append(src.frames, src.frames[again])
						switch {
						case port == 53 && c.rules != "":
							dropped++
							continue
						case c.dedup:
							copies++
							continue
						}
					} else {
						src.frames = append(src.frames, udpFrame(64+r.IntN(300), uint16(port), uint64(i)))
						last[port] = i
						if port == 53 && c.rules != "" {
							dropped++
							continue
						}
					}
					f := src.frames[i]
					kept := len(f)
					if c.caplen != 0 {
						kept = min(kept, c.caplen)
					}
					if c.rules != "" && port == 80 {
						kept = min(kept, 64)
					}
					if kept < len(f) {
						cut++
					}
					want = append(want, stored{binary.LittleEndian.Uint64(f[42:]), kept})
				}
				s := newTestStream(t, stream.Config{Size: 1 << 20, Entries: 1024}) // full at times
				l, err := s.Listen("reader", stream.Options{})
				require.NoError(t, err)
				defer func() { require.NoError(t, l.Close()) }()
				cfg := pollerConfig{Core: AnyCore, SnapLen: c.caplen}
				if c.rules != "" {
					cfg.Rules = newRuleSet(parse(t, c.rules))
				}
				if c.dedup {
					cfg.Dedup, err = dedup.New(dedup.Config{Window: time.Hour, Pools: 16, Records: 1 << 16})
					require.NoError(t, err)
				}
				p := newPoller(src, s.Producer(), newStamperOf(t, policy), cfg)
				begin := time.Now().UnixNano()
				src.limit.Store(n)
				done := runPoller(p)
				p.drain()
				at, before := 0, int64(0)
				for pkt := range l.Packets(t.Context()) {
					require.Less(t, at, len(want))
					if binary.LittleEndian.Uint64(pkt.Data[42:]) != want[at].mark || len(pkt.Data) != want[at].kept || pkt.UnixNano() < before {
						require.Fail(t, "unexpected frame", "%d: %d of %d bytes at %d after %d, want %+v", at, len(pkt.Data), pkt.Len, pkt.UnixNano(), before, want[at])
					}
					require.Equal(t, len(pkt.Data) < int(pkt.Len), pkt.Info&stream.Truncated != 0)
					if at == 0 {
						require.Greater(t, pkt.UnixNano(), begin-10e9)
					}
					before = pkt.UnixNano()
					at++
				}
				within(t, "the poller to drain", done)
				require.NoError(t, l.Err())
				require.Len(t, want, at)
				require.Less(t, before, time.Now().UnixNano()+10e9)
				counters := p.counters()
				require.Equal(t, dropped, counters.Filtered)
				require.Equal(t, copies, counters.Duplicates)
				require.Equal(t, cut, s.Stats().Truncated)
				requireBalanced(t, p, s)
			})
		}
	}
}

// Frames under backpressure keep the stamps of their arrival, and abandoned frames
// are accounted for in every group.
func TestFramesUnderBackpressureKeepTheirStampsAndAreAccountedFor(t *testing.T) {
	const wait = 60 * time.Millisecond
	for _, policy := range stampings[1:] {
		t.Run(policy.String(), func(t *testing.T) {
			src := &script{}
			for i := range 300 {
				src.frames = append(src.frames, udpFrame(100, []uint16{53, 80}[i%2], uint64(i)))
			}
			s := newTestStream(t, stream.Config{Size: 1 << 20, Entries: 64})
			l, err := s.Listen("stuck", stream.Options{})
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close()) }()
			table, err := dedup.New(dedup.Config{})
			require.NoError(t, err)
			p := newPoller(src, s.Producer(), newStamperOf(t, policy), pollerConfig{
				Core: AnyCore, Batch: 200, Dedup: table, Rules: newRuleSet(parse(t, "(port 53) drop")),
			})
			src.limit.Store(200) // 100 to be stored, 64 fit
			done := runPoller(p)
			eventually(t, "backpressure", func() bool { return p.shared.backpressure.Load() == 1 })
			blocked := time.Now().UnixNano()
			time.Sleep(wait)
			packets := make([]stream.Packet, 10)
			got, before := 0, int64(0)
			read := func(most int) {
				n, err := l.ReadBatch(t.Context(), packets[:most])
				require.NoError(t, err)
				for _, pkt := range packets[:n] {
					require.EqualValues(t, 2*got+1, binary.LittleEndian.Uint64(pkt.Data[42:]))
					require.GreaterOrEqual(t, pkt.UnixNano(), before)
					before = pkt.UnixNano()
					if policy != clock.Sample(1) && policy != clock.Sample(7) { // which stamp when the frame is stored
						require.Less(t, before, blocked+int64(wait/2), "frame %d", got)
					}
					got++
				}
			}
			for got < 20 {
				read(min(10, 20-got))
			}
			read(1) // releases the 20
			eventually(t, "backpressure again", func() bool { return s.Stats().Frames >= 64+20 })
			p.stop()
			within(t, "the blocked poller to stop", done)
			c := p.counters()
			require.EqualValues(t, 200, c.Frames)
			require.EqualValues(t, 100, c.Filtered)
			require.NotZero(t, c.Abandoned)
			require.EqualValues(t, 200*100, c.Bytes)
			requireBalanced(t, p, s)
			for err == nil {
				var n int
				n, err = l.ReadBatch(t.Context(), packets)
				got += n
			}
			require.ErrorIs(t, err, io.EOF)
			require.EqualValues(t, s.Stats().Frames, got)
		})
	}
}

// Rules take effect between two batches, and the counts of replaced rules are kept.
func TestReplacedRulesStayAccountedFor(t *testing.T) {
	src := &script{}
	for i := range 1000 {
		src.frames = append(src.frames, udpFrame(100, []uint16{53, 80}[i%2], uint64(i)))
	}
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Batch: 10})
	poll := func(n int) {
		src.limit.Add(int64(n))
		for range n / 10 {
			require.Equal(t, 10, p.poll())
		}
		p.publish()
		requireBalanced(t, p, s)
	}
	poll(100)
	require.Empty(t, p.ruleCounts())
	p.requested.Store(newRuleSet(parse(t, "(port 53) drop; 60")))
	require.Empty(t, p.ruleCounts(), "not yet in force")
	poll(100)
	require.Equal(t, []RuleCount{
		{EarlierRules, 100, 10_000}, {"(port 53) drop", 50, 5000}, {"60", 50, 5000},
	}, p.ruleCounts())
	require.EqualValues(t, 50, p.counters().Filtered)
	require.EqualValues(t, 50, s.Stats().Truncated)
	p.requested.Store(newRuleSet(parse(t, "(port 80) drop")))
	poll(200)
	require.Equal(t, []RuleCount{
		{EarlierRules, 200, 20_000}, {"(port 80) drop", 100, 10_000}, {"all", 100, 10_000},
	}, p.ruleCounts())
	p.requested.Store(newRuleSet(nil))
	require.False(t, p.fast)
	poll(100)
	require.True(t, p.fast, "frames take the fast path again")
	require.Empty(t, p.ruleCounts())
	require.EqualValues(t, 150, p.counters().Filtered)
	require.EqualValues(t, 350, s.Stats().Frames)
}

func TestPipelineDoesNotAllocate(t *testing.T) {
	for _, policy := range stampings {
		table, err := dedup.New(dedup.Config{})
		require.NoError(t, err)
		r, p := benchPollerAs(t, policy, pollerConfig{
			Core: AnyCore, Dedup: table, Rules: newRuleSet(parse(t, "(tcp) drop; (udp) 50")), SnapLen: 100,
		})
		require.Zero(t, testing.AllocsPerRun(200, func() {
			if r.Fill(32, 60) != 32 || p.poll() != 32 {
				t.Error("batch lost")
			}
			p.idle(1)
		}), "%v", policy)
	}
}
