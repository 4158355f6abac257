package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func TestCorruptCursorIsDetached(t *testing.T) {
	for name, corruptPage := range map[string]func(c *cursor){
		"bytes beyond the head":   func(c *cursor) { c.Offset.Store(1 << 40) },
		"entries beyond the head": func(c *cursor) { c.Seq.Store(1 << 40) },
		"bytes going back":        func(c *cursor) { c.Offset.Store(c.Offset.Load() - 1) },
		"entries going back":      func(c *cursor) { c.Seq.Store(c.Seq.Load() - 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, Config{Size: Block})
			p := s.Producer()
			corrupt, good := listen(t, s, Options{}), listen(t, s, Options{})
			packets := make([]Packet, 10)
			for n := range uint32(20) {
				require.True(t, p.Append(1, n, numbered(n, 60), 0))
			}
			p.Publish()
			for range 2 {
				_, err := corrupt.ReadBatch(testContext(t), packets)
				require.NoError(t, err)
			}
			corrupt.release()
			p.scanListeners()
			corruptPage(corrupt.account)
			n := uint32(20)
			for ; p.Append(1, n, numbered(n, 1514), 0); n++ {
			}
			require.EqualValues(t, 1, s.Stats().CorruptCursors)
			require.Len(t, s.Stats().Listeners, 1)
			_, err := corrupt.ReadBatch(testContext(t), packets)
			require.ErrorIs(t, err, ErrDetached)
			got := uint32(0)
			for got < n {
				k, err := good.ReadBatch(testContext(t), packets)
				require.NoError(t, err)
				for _, pkt := range packets[:k] {
					require.True(t, intact(pkt.Data, got))
					got++
				}
			}
			require.NoError(t, corrupt.Close())
			require.NotNil(t, listen(t, s, Options{}), "the slot is free again")
		})
	}
}

func TestInconsistentAccountIsDetached(t *testing.T) {
	for name, corruptPage := range map[string]func(c *cursor){
		"more read than released back": func(c *cursor) { c.Read.Add(1) },
		"less read":                    func(c *cursor) { c.Read.Add(^uint64(0)) },
		"overrun without a gap":        func(c *cursor) { c.Overrun.Add(3) },
		"read shifted to overrun":      func(c *cursor) { c.Read.Add(^uint64(4)); c.Overrun.Add(5) },
		"sums that wrap":               func(c *cursor) { c.Read.Add(1 << 63); c.Overrun.Add(1 << 63) },
		"more bytes":                   func(c *cursor) { c.ReadBytes.Add(1) },
		"overrun bytes":                func(c *cursor) { c.OverrunBytes.Add(7) },
		"begun earlier":                func(c *cursor) { c.StartSeq.Add(^uint64(0)); c.Read.Add(1) },
		"begun later":                  func(c *cursor) { c.StartSeq.Add(1); c.Read.Add(^uint64(0)) },
		"begun beyond its position":    func(c *cursor) { c.StartSeq.Store(1 << 40) },
		"beyond what is published":     func(c *cursor) { c.Position.Add(1000); c.Read.Add(1000); c.Seq.Add(1000) },
		"beyond what it has released":  func(c *cursor) { c.Position.Add(5); c.Read.Add(5) },
		"position goes back":           func(c *cursor) { c.Position.Add(^uint64(1)); c.Read.Add(^uint64(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, Config{Size: Block})
			p := s.Producer()
			l := listen(t, s, Options{})
			for n := range uint32(100) {
				require.True(t, p.Append(1, n, numbered(n, 60), 0))
			}
			p.Publish()
			for range 2 {
				_, err := l.ReadBatch(testContext(t), make([]Packet, 20))
				require.NoError(t, err)
			}
			require.EqualValues(t, 20, s.Stats().Listeners[0].Read)
			corruptPage(l.account)
			st := s.Stats()
			require.Empty(t, st.Listeners)
			require.EqualValues(t, 1, st.CorruptCursors)
			require.Equal(t, reasonCorrupt, st.RecentDetached[0].DetachReason)
			require.EqualValues(t, 20, st.RecentDetached[0].Read)
			require.EqualValues(t, 80, st.RecentDetached[0].Unread)
			require.NoError(t, st.RecentDetached[0].Balanced())
			_, err := l.ReadBatch(testContext(t), make([]Packet, 1))
			require.ErrorContains(t, err, reasonCorrupt)
		})
	}
}

func TestListenerStoppedDuringAnUpdateKeepsItsLastAccount(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	p := s.Producer()
	l := listen(t, s, Options{})
	for n := range uint32(100) {
		require.True(t, p.Append(1, n, numbered(n, 60), 0))
	}
	p.Publish()
	for range 2 {
		_, err := l.ReadBatch(testContext(t), make([]Packet, 20))
		require.NoError(t, err)
	}
	require.EqualValues(t, 20, s.Stats().Listeners[0].Read)
	l.account.Version.Add(1)
	l.account.Read.Store(7)
	st := s.Stats()
	require.Len(t, st.Listeners, 1)
	require.EqualValues(t, 20, st.Listeners[0].Read)
	require.NoError(t, st.Listeners[0].Balanced())
}

// Whatever a listener writes to its page, the producer neither crashes nor waits for
// it longer than for a slow listener, no other listener loses a frame, and every
// account balances.
func FuzzCursor(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(72), uint64(1), uint8(0), []byte{})
	f.Add(uint64(1<<63), uint64(1<<63), uint64(0), uint64(0), uint8(1), []byte{})
	f.Add(^uint64(0), ^uint64(0), uint64(1), ^uint64(0), uint8(0), []byte{2})
	f.Add(uint64(7200), uint64(100), uint64(7199), uint64(101), uint8(1), []byte{})
	f.Add(uint64(3), uint64(100), uint64(7200), uint64(1), uint8(0), make([]byte, 200))
	f.Add(uint64(0), uint64(0), uint64(72), uint64(1), uint8(16), []byte{})
	f.Add(uint64(0), uint64(0), uint64(72), uint64(90), uint8(17), []byte{})
	f.Add(uint64(1<<63), uint64(1<<63), uint64(0), uint64(0), uint8(17), []byte{})
	f.Add(uint64(7200), uint64(0), uint64(72000), uint64(0), uint8(16), []byte{})
	f.Add(uint64(0), uint64(100), uint64(0), uint64(1000), uint8(16), []byte{})
	f.Add(uint64(7200), uint64(100), uint64(72000), uint64(1000), uint8(2), []byte{
		4, 0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 32, 28, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, o1, s1, o2, s2 uint64, how uint8, account []byte) {
		c := Config{Size: Block, Entries: 1024, Segment: Block, Interface: "fuzz", Node: -1}
		var d *device
		if how&16 != 0 {
			d = newDevice(t, 1024)
			c.Pool = d.Pool
		}
		s, err := New(c)
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		p := s.Producer()
		put := func(n uint32) bool {
			if d == nil {
				return p.Append(1, n, numbered(n, 60), 0)
			}
			if n >= 1024 && n%16 == 0 && !p.Reuse(uint64(n-1024+16)) {
				return false
			}
			p.Place([]clock.Stamp{clock.Stamp(1 | uint64(n)<<32)}, []uint32{60}, []ring.Frame{d.put(numbered(n, 60))})
			return true
		}
		reference, hostile := listen(t, s, Options{}), listen(t, s, Options{Policy: Policy(how % 2), Aligned: how&2 != 0})
		packets := make([]Packet, 64)
		next := uint32(0)
		check := func() {
			st := s.Stats()
			for _, l := range append(st.Listeners, st.RecentDetached...) {
				require.NoError(t, l.Balanced())
				require.LessOrEqual(t, l.Stored, st.Frames)
				require.LessOrEqual(t, l.LagBytes, st.Bytes)
			}
		}
		store := func(frames uint32) {
			for i := next; i < next+frames; i++ {
				if !put(i) {
					// Only the hostile listener can be in the way: the index
					// is larger than what is stored here.
					require.NoError(t, hostile.Close())
					require.True(t, put(i))
				}
			}
			p.Publish()
			for got := next; got < next+frames; {
				n, err := reference.ReadBatch(testContext(t), packets)
				require.NoError(t, err)
				for _, pkt := range packets[:n] {
					require.Equal(t, got, pkt.Nsec)
					require.True(t, intact(pkt.Data, got))
					got++
				}
			}
			reference.release()
			next += frames
			check()
		}
		write := func(offset, seq uint64) {
			if hostile.enter() {
				defer hostile.exit()
				hostile.account.Offset.Store(offset)
				hostile.account.Seq.Store(seq)
				copy(hostile.cursorMap.mem[16:], account)
				copy(hostile.cursorMap.mem[128:], account)
			}
			check()
		}
		store(100)
		write(o1, s1)
		if how&4 != 0 {
			_ = s.SetPolicy(hostile.id, Policy(how>>3%2), 0) // it may be detached
		}
		store(900)
		write(o2, s2)
		store(1000)
		require.LessOrEqual(t, s.Stats().CorruptCursors, uint64(1))
		require.NoError(t, reference.Stats().Balanced())
		require.NoError(t, reference.Close())
		require.NoError(t, hostile.Close())
		check()
	})
}

// An invalid header is refused before any table is read.
func FuzzHeader(f *testing.F) {
	good := newHeader(Config{Size: Block, Entries: 64, Segment: Block})
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

// Whatever a header says of a pool, and an entry of a frame, a reader stays within the memory.
func FuzzPoolHeader(f *testing.F) {
	const bytes = 64 << 10
	good := newHeader(Config{Size: Block, Entries: 64, Segment: Block})
	good.PoolBytes, good.DataBytes = bytes, Block
	f.Add(uint64(bytes), uint32(31), uint32(2112), uint32(64), uint32(2048), uint32(13), uint16(1514))
	f.Add(uint64(bytes), uint32(31), uint32(2112), uint32(64), uint32(2048), uint32(30*2112+52)/4, uint16(9000))
	f.Add(uint64(bytes), uint32(31), uint32(2112), uint32(64), uint32(2048), uint32(1<<32-1), uint16(1<<16-1))
	f.Add(uint64(bytes), uint32(1), uint32(bytes), uint32(12), uint32(bytes-12), uint32(0), uint16(1<<16-1))
	f.Add(uint64(0), uint32(31), uint32(2112), uint32(64), uint32(2048), uint32(13), uint16(1514))
	f.Add(uint64(bytes), uint32(1<<31), uint32(1<<31), uint32(12), uint32(1), uint32(1), uint16(9000))
	memory, room := make([]byte, bytes), make([]byte, MaxFrame)
	f.Fuzz(func(t *testing.T, poolBytes uint64, buffers, stride, headroom, buffer, place uint32, caplen uint16) {
		h := good
		h.PoolBytes, h.Buffers, h.Stride, h.Headroom, h.Buffer = poolBytes, buffers, stride, headroom, buffer
		if h.check(bytes, good.Control) != nil {
			return
		}
		v := newView(memory, &h, controlView{})
		e := Entry{Place: place, Caplen: caplen}
		require.Len(t, v.record(&e), RecordHeader+int(min(uint32(caplen), buffer)))
		require.Len(t, v.gather(room, &e, uint64(caplen)), int(caplen))
	})
}
