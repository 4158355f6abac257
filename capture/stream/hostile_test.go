package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenerWithAnImpossibleCursorIsLetGo(t *testing.T) {
	for name, spoil := range map[string]func(c *cursor){
		"bytes beyond the head":   func(c *cursor) { c.Offset.Store(1 << 40) },
		"entries beyond the head": func(c *cursor) { c.Seq.Store(1 << 40) },
		"bytes going back":        func(c *cursor) { c.Offset.Store(c.Offset.Load() - 1) },
		"entries going back":      func(c *cursor) { c.Seq.Store(c.Seq.Load() - 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, Config{Size: Block})
			p := s.Producer()
			bad, good := listen(t, s, Options{}), listen(t, s, Options{})
			packets := make([]Packet, 10)
			for n := range uint32(20) {
				require.True(t, p.Append(1, n, numbered(n, 60), 0))
			}
			p.Publish()
			for range 2 {
				_, err := bad.ReadBatch(soon(t), packets)
				require.NoError(t, err)
			}
			bad.release()
			p.scan()
			spoil(bad.account)
			n := uint32(20)
			for ; p.Append(1, n, numbered(n, 1514), 0); n++ {
			}
			require.EqualValues(t, 1, s.Stats().Detached)
			require.Len(t, s.Stats().Listeners, 1)
			_, err := bad.ReadBatch(soon(t), packets)
			require.ErrorIs(t, err, ErrDetached)
			got := uint32(0)
			for got < n {
				k, err := good.ReadBatch(soon(t), packets)
				require.NoError(t, err)
				for _, pkt := range packets[:k] {
					require.True(t, intact(pkt.Data, got))
					got++
				}
			}
			require.NoError(t, bad.Close())
			require.NotNil(t, listen(t, s, Options{}), "the place is free again")
		})
	}
}

// Whatever a listener writes to its page, the producer neither crashes nor waits
// for it longer than for a slow listener, and nobody else's frames suffer.
func FuzzCursor(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(72), uint64(1), uint8(0))
	f.Add(uint64(1<<63), uint64(1<<63), uint64(0), uint64(0), uint8(1))
	f.Add(^uint64(0), ^uint64(0), uint64(1), ^uint64(0), uint8(0))
	f.Add(uint64(7200), uint64(100), uint64(7199), uint64(101), uint8(1))
	f.Add(uint64(3), uint64(100), uint64(7200), uint64(1), uint8(0))
	f.Fuzz(func(t *testing.T, o1, s1, o2, s2 uint64, policy uint8) {
		s, err := New(Config{Size: Block, Entries: 1024, Segment: Block, Interface: "fuzz", Node: -1})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		p := s.Producer()
		honest, hostile := listen(t, s, Options{}), listen(t, s, Options{Policy: Policy(policy % 2)})
		packets := make([]Packet, 64)
		next := uint32(0)
		store := func(frames uint32) {
			for i := next; i < next+frames; i++ {
				if !p.Append(1, i, numbered(i, 60), 0) {
					// Only the hostile listener can be in the way: the index
					// holds more than is stored here.
					require.Equal(t, Lossless, hostile.policy)
					require.NoError(t, hostile.Close())
					require.True(t, p.Append(1, i, numbered(i, 60), 0))
				}
			}
			p.Publish()
			for got := next; got < next+frames; {
				n, err := honest.ReadBatch(soon(t), packets)
				require.NoError(t, err)
				for _, pkt := range packets[:n] {
					require.Equal(t, got, pkt.Nsec)
					require.True(t, intact(pkt.Data, got))
					got++
				}
			}
			honest.release()
			next += frames
		}
		write := func(offset, seq uint64) {
			if hostile.enter() {
				defer hostile.leave()
				hostile.account.Offset.Store(offset)
				hostile.account.Seq.Store(seq)
				hostile.account.Version.Store(offset ^ seq)
				hostile.account.Position.Store(seq)
				hostile.account.StartSeq.Store(offset)
			}
			_ = s.Stats()
		}
		store(100)
		write(o1, s1)
		store(900)
		write(o2, s2)
		store(1000)
		require.LessOrEqual(t, s.Stats().Detached, uint64(1))
		require.NoError(t, honest.Stats().Balanced())
		require.NoError(t, honest.Close())
		require.NoError(t, hostile.Close())
	})
}

// A control memory that is not one is refused, not walked.
func FuzzHeader(f *testing.F) {
	good := plan(Config{Size: Block, Entries: 64, Segment: Block})
	f.Add(good.Magic, good.DataBytes, good.Entries, good.IndexAt, good.Starts, good.Control, good.NameBytes)
	f.Add(good.Magic, good.DataBytes, uint64(1)<<63, good.IndexAt, good.Starts, good.Control, good.NameBytes)
	f.Add(good.Magic, good.DataBytes, good.Entries, ^uint64(4095), good.Starts, good.Control, good.NameBytes)
	f.Add(good.Magic, good.DataBytes, good.Entries, good.IndexAt, uint64(1)<<62, good.Control, good.NameBytes)
	f.Fuzz(func(t *testing.T, magic, data, entries, indexAt, starts, control uint64, name uint32) {
		h := good
		h.Magic, h.DataBytes, h.Entries, h.IndexAt, h.Starts, h.Control, h.NameBytes = magic, data, entries, indexAt, starts, control, name
		mem := make([]byte, good.Control)
		if h.check(good.DataBytes, good.Control) != nil {
			return
		}
		require.LessOrEqual(t, h.IndexAt+h.Entries*entryBytes, uint64(len(mem)))
		require.LessOrEqual(t, h.StartsAt+h.Starts*startBytes, h.IndexAt)
		require.LessOrEqual(t, int(h.NameBytes), len(h.Name))
	})
}
