package capture

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// timedSource says that the device has stamped frames.
type timedSource struct {
	script
	timed [][]byte
}

func (s *timedSource) Timed() [][]byte { return s.timed }

// takenStamps are the stamps that a device has taken.
type takenStamps []DeviceStamp

func (s *takenStamps) HasClock() bool { return true }

func (s *takenStamps) TakeStamp() (DeviceStamp, bool) {
	if len(*s) == 0 {
		return DeviceStamp{}, false
	}
	first := (*s)[0]
	*s = (*s)[1:]
	return first, true
}

func ptpFrame(sequence uint16) []byte {
	f := make([]byte, 60)
	f[12], f[13], f[15] = 0x88, 0xf7, 2
	binary.BigEndian.PutUint16(f[14+30:], sequence)
	return f
}

func stampAt(ns uint64) clock.Stamp { return clock.Stamp(ns/1e9 | ns%1e9<<32) }

func TestStampsAreComparedWithThoseOfTheDevice(t *testing.T) {
	src, taken := &timedSource{}, &takenStamps{}
	d := &deviceComparer{port: taken}
	l := d.queue(src)
	now := time.Unix(100, 0)
	// A batch of three, of which the device has stamped the second.
	group := func(sequence uint16, stamp uint64) {
		g := group{stamps: []clock.Stamp{stampAt(1), stampAt(stamp), stampAt(3)}}
		for _, data := range [][]byte{udpFrame(60, 1, 2), ptpFrame(sequence), ptpFrame(sequence)} {
			g.frames = append(g.frames, ring.Frame{Data: data, Len: uint32(len(data))})
		}
		src.timed = [][]byte{g.frames[1].Data}
		require.True(t, l.pending())
		l.note(&g)
	}
	for i, difference := range []int64{900, -100, 700} {
		*taken = append(*taken, DeviceStamp{Sequence: uint16(i), Time: 5_000_000_000, Uncertainty: int64(50 * i)})
		group(uint16(i), uint64(5_000_000_000+difference))
		now = now.Add(stampEvery)
		d.compare(now)
	}
	require.Equal(t, &DeviceComparison{Messages: 3, Mean: 500, Least: -100, Most: 900, Uncertainty: 100}, d.account())

	// A frame whose stamp was taken for another, and that stamp.
	*taken = append(*taken, DeviceStamp{Sequence: 77})
	group(3, 6_000_000_000)
	d.compare(now)
	require.EqualValues(t, 2, d.account().Unmatched)

	// The stamp of a frame that never came is discarded after a second, so that the device
	// takes others.
	*taken = append(*taken, DeviceStamp{Sequence: 78})
	d.compare(now.Add(stampStale / 2))
	require.Len(t, *taken, 1)
	d.compare(now.Add(stampStale))
	require.Empty(t, *taken)
	require.EqualValues(t, 3, d.account().Unmatched)
	require.EqualValues(t, 3, d.account().Messages)
	require.Nil(t, (*deviceComparer)(nil).account())
}

// A comparer that is late leaves out what was overwritten, and never reads half an entry.
func TestNotedFramesAreReadWhole(t *testing.T) {
	l := &timedLog{}
	const frames = 20000
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range frames {
			l.put(uint16(i), stampAt(uint64(uint16(i))))
		}
	})
	last, got := -1, 0
	for last < frames-1 {
		s, stamp, ok := l.next()
		if !ok {
			continue
		}
		require.EqualValues(t, s, stamp.UnixNano())
		require.Greater(t, int(s), last)
		last = int(s)
		got++
	}
	writing.Wait()
	require.Positive(t, got)
}

func TestPTPSequence(t *testing.T) {
	message := make([]byte, 34)
	message[1] = 2
	binary.BigEndian.PutUint16(message[30:], 0xbeef)
	udp := make([]byte, 8)
	ip4 := make([]byte, 24)
	ip4[0] = 0x46
	address := make([]byte, 12)
	join := func(parts ...[]byte) (f []byte) {
		for _, p := range parts {
			f = append(f, p...)
		}
		return f
	}
	for name, f := range map[string][]byte{
		"Ethernet": join(address, []byte{0x88, 0xf7}, message),
		"two tags": join(address, []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x88, 0xf7}, message),
		"IPv4":     join(address, []byte{0x08, 0x00}, ip4, udp, message),
		"IPv6":     join(address, []byte{0x86, 0xdd}, make([]byte, 40), udp, message),
	} {
		s, ok := ptpSequence(f)
		require.True(t, ok, name)
		require.EqualValues(t, 0xbeef, s, name)
		for n := range len(f) - 2 {
			_, ok = ptpSequence(f[:n])
			require.Equal(t, n >= len(f)-2, ok, "%s, %d bytes", name, n)
		}
	}
	_, ok := ptpSequence(udpFrame(100, 1, 2)[:12])
	require.False(t, ok)
	_, ok = ptpSequence(join(address, []byte{0x88, 0xb5}, message))
	require.False(t, ok)
}

func FuzzPTPSequence(f *testing.F) {
	f.Add(ptpFrame(1))
	f.Add(udpFrame(100, 319, 2))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, ok := ptpSequence(frame); ok && len(frame) < 14+32 {
			t.Fatalf("a sequence number in %d bytes", len(frame))
		}
	})
}
