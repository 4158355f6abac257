package stream

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func TestLayoutIsWhatOtherProcessesRead(t *testing.T) {
	require.EqualValues(t, tableAt-cursorsAt, reflect.TypeFor[cursors]().Size())
	require.EqualValues(t, pageBytes, reflect.TypeFor[cursor]().Size())
	require.EqualValues(t, entryBytes, reflect.TypeFor[Entry]().Size())
	require.EqualValues(t, startBytes, reflect.TypeFor[start]().Size())
	require.LessOrEqual(t, reflect.TypeFor[header]().Size(), uintptr(pageBytes))
	for _, c := range []struct {
		of     reflect.Type
		fields map[string]uintptr
	}{
		{reflect.TypeFor[cursors](), map[string]uintptr{
			"ReserveOffset": 0, "ReserveSeq": 8, "Head": 128, "IndexHead": 256, "Segments": 384, "Finished": 512, "Uncertainty": 640, "Missed": 768, "Slots": 1024,
		}},
		{reflect.TypeFor[cursor](), map[string]uintptr{"Offset": 0, "Seq": 8, "Generation": 16, "Version": 128}},
		{reflect.TypeFor[Entry](), map[string]uintptr{
			"Offset": 0, "Hash": 8, "VLAN": 12, "Info": 14, "Caplen": 16, "Len": 18, "Member": 24,
		}},
		// The assembly loads VLAN and Info as one word.
		{reflect.TypeFor[ring.Frame](), map[string]uintptr{"Data": 0, "Len": 48, "Hash": 52, "VLAN": 56, "Info": 58}},
		{reflect.TypeFor[clock.Line](), map[string]uintptr{"Tick": 0, "Rate": 8, "Base": 16, "Last": 24, "Sec": 32}},
	} {
		for name, at := range c.fields {
			f, ok := c.of.FieldByName(name)
			require.True(t, ok, name)
			require.Equal(t, at, f.Offset, "%v.%s", c.of, name)
		}
	}
	require.EqualValues(t, 64, reflect.TypeFor[ring.Frame]().Size())
}

func TestConfigThatCannotWorkIsRefusedWithAdvice(t *testing.T) {
	for _, c := range []Config{
		{Size: 3 << 20}, {Size: 512 << 10}, {Size: 0}, {Size: -1},
		{Size: 1 << 20, Entries: 100}, {Size: 1 << 20, Entries: 8},
		{Size: 1 << 20, Segment: 1000}, {Size: 1 << 20, Segment: -Block},
		{Size: 1 << 20, Queue: -1}, {Size: 1 << 20, Interface: strings.Repeat("x", 65)},
		{Size: 1 << 20, Pages: 2 << 20},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, "choose", "%+v", c)
	}
}

func TestMemoriesCannotBeWrittenThroughTheirDescriptors(t *testing.T) {
	s := newStream(t, Config{})
	data, control := s.Descriptors()
	for _, fd := range []int{data, control} {
		_, err := unix.Mmap(fd, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.ErrorIs(t, err, unix.EPERM)
		_, err = unix.Pwrite(fd, []byte{1}, 0)
		require.ErrorIs(t, err, unix.EPERM)
		require.Error(t, unix.Ftruncate(fd, 0))
	}
	require.True(t, s.Producer().Append(1, 2, numbered(1, 60), 0), "the producer still writes")

	l := listen(t, s, Options{})
	require.Error(t, unix.Mprotect(l.controlMap.mem, unix.PROT_READ|unix.PROT_WRITE))
	require.Error(t, unix.Mprotect(l.dataMap.mem, unix.PROT_READ|unix.PROT_WRITE))
	require.Error(t, unix.Ftruncate(s.attached[l.slot].page.Fd(), 0), "a listener that could truncate its page would kill the producer")
}

func TestPacketsAreReadAsTheyWereAppended(t *testing.T) {
	s := newStream(t, Config{})
	l := listen(t, s, Options{})
	p := s.Producer()

	f := numbered(7, 300)
	f.Info |= ring.HasVLAN
	require.True(t, p.Append(10, 20, f, 0))
	require.True(t, p.Append(10, 21, numbered(8, 300), 100))
	split := numbered(9, 5000)
	split.Data, split.Rest = split.Data[:2048], [][]byte{split.Data[2048:4096], split.Data[4096:]}
	require.True(t, p.Append(11, 0, split, 0))
	require.True(t, p.Append(11, 1, split, 2100))
	require.True(t, p.Append(11, 2, split, 64))
	require.True(t, p.Append(0, 0, numbered(12, 0), 0))

	packets := make([]Packet, 10)
	p.Publish()
	n, err := l.ReadBatch(testContext(t), packets)
	require.NoError(t, err)
	require.Equal(t, 6, n)
	for i, want := range []struct {
		n         uint32
		sec, nsec uint32
		cap       int
		len       uint16
		info      ring.Info
	}{
		{7, 10, 20, 300, 300, ring.HasHash | ring.HasVLAN},
		{8, 10, 21, 100, 300, ring.HasHash | Truncated},
		{9, 11, 0, 5000, 5000, ring.HasHash},
		{9, 11, 1, 2100, 5000, ring.HasHash | Truncated},
		{9, 11, 2, 64, 5000, ring.HasHash | Truncated},
		{12, 0, 1, 0, 0, ring.HasHash}, // a stamp of 0 would be padding
	} {
		got := packets[i]
		require.True(t, intact(got.Data, want.n), i)
		require.Len(t, got.Data, want.cap)
		require.Equal(t, want.len, got.Len)
		require.Equal(t, [2]uint32{want.sec, want.nsec}, [2]uint32{got.Sec, got.Nsec})
		require.Equal(t, want.n, got.Hash)
		require.Equal(t, uint16(want.n), got.VLAN)
		require.Equal(t, want.info, got.Info)
		require.Equal(t, int64(want.sec)*1e9+int64(want.nsec), got.Time().UnixNano())
		require.Equal(t, got.Time().UnixNano(), got.UnixNano())
	}
	require.EqualValues(t, 3, s.Stats().Truncated)
	require.EqualValues(t, 300+100+5000+2100+64, s.Stats().FrameBytes)
}

func TestFramesThatNoRecordCanHoldAreCountedNotStored(t *testing.T) {
	s := newStream(t, Config{})
	p := s.Producer()
	require.True(t, p.Append(1, 1, numbered(1, MaxFrame), 0))
	require.True(t, p.Append(1, 1, numbered(1, MaxFrame+1), 0))
	require.True(t, p.Append(1, 1, numbered(1, MaxFrame+1), 60))
	require.True(t, p.Append(1, 1, &ring.Frame{Data: make([]byte, 60), Len: 61}, 0))
	require.True(t, p.Append(1, 1, &ring.Frame{Data: make([]byte, 60), Rest: [][]byte{make([]byte, 3)}, Len: 62}, 0))
	p.Finish()
	require.True(t, p.Append(1, 1, numbered(1, 60), 0))
	st := s.Stats()
	require.EqualValues(t, 1, st.Frames)
	require.EqualValues(t, 2, st.TooLong)
	require.EqualValues(t, 2, st.Inconsistent)
	require.EqualValues(t, 1, st.Late)
}

// Every lossless listener, by packets or by bytes, reads every frame in order,
// whatever the sizes of frames, buffer, index, block and segment.
func TestLosslessListenersGetEverything(t *testing.T) {
	for _, c := range []struct {
		config Config
		block  int
	}{
		{Config{Size: 2 * Block, Segment: Block}, Block},
		{Config{Size: 1 * Block, Segment: Block}, 64 << 10},
		{Config{Size: 4 * Block, Segment: 3 * Block}, Block},
		{Config{Size: 2 * Block, Segment: 8 * Block, Entries: 64}, Block}, // the index is full first
		{Config{Size: 1 * Block, Segment: 2 * Block, Entries: 128}, 10000},
	} {
		t.Run(fmt.Sprintf("size=%d,segment=%d,entries=%d,block=%d", c.config.Size, c.config.Segment, c.config.Entries, c.block), func(t *testing.T) {
			const frames = 6000
			s := newStream(t, c.config)
			ctx := testContext(t)
			sizes := make([]int, frames)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range sizes {
				sizes[i] = randomSize(r)
			}

			var readers sync.WaitGroup
			check := func(n int, p Packet) error {
				if p.Nsec != uint32(n) || len(p.Data) != sizes[n] || !intact(p.Data, uint32(n)) {
					return fmt.Errorf("packet %d: number %d, %d bytes", n, p.Nsec, len(p.Data))
				}
				return nil
			}
			batches, walker, bytes := listen(t, s, Options{}), listen(t, s, Options{}), listen(t, s, Options{Aligned: true})
			readers.Go(func() {
				packets, next := make([]Packet, 37), 0
				for {
					n, err := batches.ReadBatch(ctx, packets)
					if errors.Is(err, io.EOF) && next == frames {
						return
					}
					if err != nil {
						t.Errorf("after %d frames: %v", next, err)
						return
					}
					for _, p := range packets[:n] {
						if err := check(next, p); err != nil {
							t.Error(err)
							return
						}
						next++
					}
				}
			})
			readers.Go(func() {
				next := 0
				for p := range walker.Packets(ctx) {
					if err := check(next, p); err != nil {
						t.Error(err)
						return
					}
					next++
				}
				if next != frames || walker.Err() != nil {
					t.Errorf("walked %d frames: %v", next, walker.Err())
				}
			})
			var segments [][]byte
			readers.Go(func() {
				var err error
				if segments, _, err = readSegments(t, ctx, bytes, c.block); err != nil {
					t.Error(err)
				}
			})

			p := s.Producer()
			for i, size := range sizes {
				p.appendWait(t, 5, uint32(i), numbered(uint32(i), size))
				if i%32 == 31 {
					p.Publish()
				}
				if i%997 == 0 {
					for _, l := range s.Stats().Listeners {
						require.NoError(t, l.Balanced())
					}
				}
			}
			p.Finish()
			readers.Wait()
			if t.Failed() {
				return
			}
			next, at := 0, uint64(0)
			for i, segment := range segments {
				if i < len(segments)-1 {
					require.EqualValues(t, c.config.Segment, len(segment), "segment %d", i)
				}
				for _, rec := range parse(t, at, segment) { // fails when a record straddles
					require.EqualValues(t, next, rec.nsec)
					require.Len(t, rec.data, sizes[next])
					require.True(t, intact(rec.data, uint32(next)))
					next++
				}
				at += uint64(len(segment))
			}
			require.Equal(t, frames, next)
			for _, l := range []*Listener{batches, walker, bytes} {
				st := l.Stats()
				require.NoError(t, st.Balanced())
				require.EqualValues(t, frames, st.Read)
				require.EqualValues(t, s.Stats().Bytes, st.ReadBytes)
			}
			st := s.Stats()
			require.EqualValues(t, st.Bytes, st.FrameBytes+st.Padding+RecordHeader*st.Frames)
		})
	}
}

func TestFullStreamHoldsTheProducerUntilTheSlowestReleases(t *testing.T) {
	for name, c := range map[string]Config{
		"data is full first":  {Size: Block},
		"index is full first": {Size: Block, Entries: 64},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, c)
			p := s.Producer()
			slow, fast := listen(t, s, Options{}), listen(t, s, Options{})
			packets := make([]Packet, 1)
			stored := uint32(0)
			for ; p.Append(1, stored, numbered(stored, 1514), 0); stored++ {
				require.Less(t, stored, uint32(1000))
			}
			if c.Entries != 0 {
				require.EqualValues(t, c.Entries, stored)
			} else {
				require.EqualValues(t, Block/(RecordHeader+1514), stored)
			}
			require.False(t, p.Append(1, stored, numbered(stored, 1514), 0), "no listener has read")

			for i := range stored {
				n, err := fast.ReadBatch(testContext(t), packets)
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.True(t, intact(packets[0].Data, i))
			}
			require.False(t, p.Append(1, stored, numbered(stored, 1514), 0), "one has not read")
			for range 3 { // the third call releases two
				_, err := slow.ReadBatch(testContext(t), packets)
				require.NoError(t, err)
			}
			require.True(t, p.Append(1, stored, numbered(stored, 1514), 0))
			require.True(t, p.Append(1, stored+1, numbered(stored+1, 1514), 0))
			require.False(t, p.Append(1, stored+2, numbered(stored+2, 1514), 0))
			require.NoError(t, slow.Close())
			fast.release()
			require.True(t, p.Append(1, stored+2, numbered(stored+2, 1514), 0), "a closed listener holds nothing back")
		})
	}
}

func TestEndOfStreamComesAfterTheLastFrame(t *testing.T) {
	s := newStream(t, Config{})
	p := s.Producer()
	a, b := listen(t, s, Options{}), listen(t, s, Options{})
	require.True(t, p.Append(1, 1, numbered(1, 60), 0))
	p.Finish()
	late := listen(t, s, Options{})
	old := listen(t, s, Options{Start: FromOldest})

	packets := make([]Packet, 4)
	n, err := a.ReadBatch(testContext(t), packets)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for range 2 {
		_, err = a.ReadBatch(testContext(t), packets)
		require.ErrorIs(t, err, io.EOF)
	}
	block, err := b.ReadBlock(testContext(t), Block)
	require.NoError(t, err)
	require.Len(t, block, 72)
	require.False(t, b.SegmentEnd())
	_, err = b.ReadBlock(testContext(t), Block)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, b.Consume(72))
	require.EqualValues(t, 1, b.Stats().Read)
	_, err = late.ReadBatch(testContext(t), packets)
	require.ErrorIs(t, err, io.EOF)
	n, err = old.ReadBatch(testContext(t), packets)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, s.Close())
	_, err = old.ReadBatch(testContext(t), packets)
	require.ErrorIs(t, err, io.EOF, "listeners outlive the stream")
	require.EqualValues(t, 1, old.Stats().Read)
	require.EqualValues(t, 1, s.Stats().Frames)
	_, err = s.Listen("too late", Options{})
	require.ErrorContains(t, err, "closed")
	require.ErrorIs(t, err, os.ErrClosed)
}
