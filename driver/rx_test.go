package driver_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

func newRing(t testing.TB, o drivertest.Options) (*drivertest.Ring, *driver.RxQueue) {
	t.Helper()
	r, err := drivertest.NewRing(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r, r.Queue()
}

// number returns the number that Ring.Fill wrote to the frame's last bytes.
func number(f *ring.Frame) uint32 {
	b := f.Data
	for _, more := range f.Rest {
		b = append(b[:len(b):len(b)], more...)
	}
	return binary.BigEndian.Uint32(b[len(b)-4:])
}

func TestPollReturnsAllFramesInOrder(t *testing.T) {
	for _, c := range []struct {
		name              string
		ring, size, batch int
		refillBatch       int
	}{
		{"smallest ring", 8, 60, 3, 1},
		{"not a power of two", 24, 60, 7, 1},
		{"batch larger than the ring", 8, 1514, 64, 1},
		{"refill in batches", 64, 60, 5, 16},
		{"two descriptors", 24, 3000, 4, 1},
		{"jumbo", 64, 9014, 3, 4},
		{"longest frame", 16, 15868, 2, 1},
		{"exactly one buffer", 16, 2048, 4, 1},
		{"one byte more", 16, 2049, 4, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := newRing(t, drivertest.Options{Size: c.ring, RefillBatch: c.refillBatch})
			frames := make([]ring.Frame, c.batch)
			var next, sent uint32
			for round := range 300 {
				sent += uint32(r.Fill(1+round%c.ring, c.size))
				for {
					n := q.Poll(frames)
					for i := range frames[:n] {
						f := &frames[i]
						total := len(f.Data)
						for _, b := range f.Rest {
							total += len(b)
						}
						const info = ring.HasHash | ring.IPv4 | ring.UDP | ring.IPChecked | ring.L4Checked
						if total != c.size || int(f.Len) != c.size || (c.size > 2048) != (f.Rest != nil) ||
							number(f) != next || f.Hash != next*0x9e3779b1 || f.Info != info {
							t.Fatalf("frame %d is %d: %d bytes, Len %d, %d parts more, hash %#x, info %#x",
								next, number(f), total, f.Len, len(f.Rest), f.Hash, f.Info)
						}
						next++
					}
					q.Release()
					if n == 0 {
						break
					}
				}
				require.Equal(t, sent, next, "all frames sent are received")
			}
			require.Greater(t, next, uint32(c.ring))
			require.Zero(t, q.Overlong()+q.Malformed())
		})
	}
}

func TestDeviceOwnsAllDescriptorsButOne(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 64})
	require.Equal(t, 63, r.Owned())
	require.Equal(t, 63, r.Fill(100, 60), "a full ring")
	require.Zero(t, r.Fill(1, 60))
	frames := make([]ring.Frame, 64)
	require.Equal(t, 63, q.Poll(frames))
	require.Zero(t, q.Poll(frames), "an empty ring")
	require.Zero(t, r.Owned(), "polled frames belong to the caller")
	q.Release()
	require.Equal(t, 63, r.Owned())
	require.Equal(t, 63, r.Fill(100, 60))
	require.Equal(t, 63, q.Poll(frames), "over the end")
}

func TestPolledFramesAreNotPostedBeforeRelease(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 16})
	r.Fill(10, 60)
	frames := make([]ring.Frame, 4)
	require.Equal(t, 4, q.Poll(frames))
	first := number(&frames[0])
	_, writes := r.Tail()
	require.Equal(t, 5, r.Owned())
	r.Fill(16, 60)
	require.Equal(t, first, number(&frames[0]), "not overwritten")
	q.Release()
	tail, again := r.Tail()
	require.Equal(t, writes+1, again, "one write per Release")
	require.Equal(t, uint32(3), tail, "one behind")
	q.Release()
	_, again = r.Tail()
	require.Equal(t, writes+1, again, "no write without new frames")
}

func TestReleaseCollectsDescriptorsBeforeItWritesTheTail(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 64, RefillBatch: 8})
	_, before := r.Tail()
	frames := make([]ring.Frame, 3)
	for i := 1; i <= 6; i++ {
		r.Fill(3, 60)
		require.Equal(t, 3, q.Poll(frames))
		q.Release()
	}
	_, after := r.Tail()
	require.Equal(t, 2, after-before, "18 descriptors, at least 8 at a time")
}

func TestFrameIsCompleteWithItsLastDescriptor(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 16})
	frames := make([]ring.Frame, 4)
	r.Fill(1, 60)
	r.Complete(0, ring.RxDD.WithLength(2048))
	require.Equal(t, 1, q.Poll(frames), "the frame before it is complete")
	require.Zero(t, q.Poll(frames))
	r.Complete(0, ring.RxDD.WithLength(2048))
	require.Zero(t, q.Poll(frames))
	r.Complete(ring.RxType(0).WithHash(ring.RSSIPv4, 7), (ring.RxDD | ring.RxEOP).WithLength(10))
	require.Equal(t, 1, q.Poll(frames))
	require.EqualValues(t, 2*2048+10, frames[0].Len)
	require.Len(t, frames[0].Rest, 2)
	require.Equal(t, uint32(7), frames[0].Hash, "that of the last descriptor")
	r.Fill(1, 60)
	require.Equal(t, 1, q.Poll(frames))
	require.Nil(t, frames[0].Rest, "a frame of one buffer has no Rest")
}

func TestChainThatIsTooLongIsCountedAndSkipped(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 32, MaxChain: 3})
	frames := make([]ring.Frame, 8)
	for range 7 {
		r.Complete(0, ring.RxDD.WithLength(2048))
	}
	require.Zero(t, q.Poll(frames))
	q.Release()
	require.EqualValues(t, 1, q.Overlong())
	r.Complete(0, (ring.RxDD | ring.RxEOP).WithLength(100))
	r.Fill(2, 60)
	require.Equal(t, 2, q.Poll(frames), "frames after it are complete")
	require.EqualValues(t, 60, frames[0].Len)
	require.EqualValues(t, 1, q.Overlong(), "one frame, one count")
	q.Release()
	require.Equal(t, 31, r.Owned(), "all descriptors are posted again")
}

func TestRefillBatchLeavesDescriptorsForTheLongestFrame(t *testing.T) {
	r, q := newRing(t, drivertest.Options{Size: 8, MaxChain: 6, RefillBatch: 4})
	frames := make([]ring.Frame, 1)
	for range 20 {
		require.Equal(t, 1, r.Fill(1, 60))
		require.Equal(t, 1, q.Poll(frames))
		q.Release()
		require.GreaterOrEqual(t, r.Owned(), 6, "with fewer a frame of 6 descriptors would never complete")
	}
}

func TestImpossibleDescriptorsAreCountedAndDropped(t *testing.T) {
	for _, c := range []struct {
		name   string
		status []ring.RxStatus
	}{
		{"longer than the buffer", []ring.RxStatus{(ring.RxDD | ring.RxEOP).WithLength(2049)}},
		{"longest", []ring.RxStatus{(ring.RxDD | ring.RxEOP).WithLength(0xffff)}},
		{"empty", []ring.RxStatus{ring.RxDD | ring.RxEOP}},
		{"empty in the middle", []ring.RxStatus{ring.RxDD.WithLength(2048), ring.RxDD, (ring.RxDD | ring.RxEOP).WithLength(9)}},
		{"long last part", []ring.RxStatus{ring.RxDD.WithLength(2048), (ring.RxDD | ring.RxEOP).WithLength(5000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := newRing(t, drivertest.Options{Size: 16})
			frames := make([]ring.Frame, 8)
			for _, s := range c.status {
				r.Complete(0, s)
			}
			r.Fill(1, 60)
			require.Equal(t, 1, q.Poll(frames))
			require.EqualValues(t, 60, frames[0].Len)
			require.EqualValues(t, 1, q.Malformed())
		})
	}
}

func TestVLAN(t *testing.T) {
	tagged := append([]byte(nil), make([]byte, 64)...)
	copy(tagged[12:], []byte{0x81, 0x00, 0x60, 0x2a, 0x08, 0x00})
	frames := make([]ring.Frame, 1)
	status := (ring.RxDD | ring.RxEOP | ring.RxVP).WithLength(64)
	t.Run("not stripped: from the frame", func(t *testing.T) {
		r, q := newRing(t, drivertest.Options{Size: 8})
		copy(r.Buffer(r.Head()), tagged)
		r.Complete(ring.PktIPv4, status)
		require.Equal(t, 1, q.Poll(frames))
		require.Equal(t, uint16(0x602a), frames[0].VLAN)
		require.Equal(t, ring.HasVLAN|ring.IPv4, frames[0].Info)
		r.Fill(1, 60)
		require.Equal(t, 1, q.Poll(frames))
		require.Zero(t, frames[0].VLAN, "the next frame has no tag")
	})
	t.Run("stripped: from the descriptor", func(t *testing.T) {
		r, q := newRing(t, drivertest.Options{Size: 8, Stripped: true})
		r.Complete(ring.PktIPv4, status.WithVLAN(0xa00b))
		require.Equal(t, 1, q.Poll(frames))
		require.Equal(t, uint16(0xa00b), frames[0].VLAN)
		require.Equal(t, ring.HasVLAN|ring.Stripped|ring.IPv4, frames[0].Info)
	})
	t.Run("too short to have one", func(t *testing.T) {
		r, q := newRing(t, drivertest.Options{Size: 8})
		r.Complete(0, (ring.RxDD | ring.RxEOP | ring.RxVP).WithLength(15))
		require.Equal(t, 1, q.Poll(frames))
		require.Zero(t, frames[0].Info)
	})
}

func TestUDPWithoutChecksumIsNotBad(t *testing.T) {
	udp := func(checksum byte, tags int) []byte {
		b := make([]byte, 64)
		at := 12
		for range tags {
			b[at], b[at+1] = 0x81, 0x00
			at += 4
		}
		b[at] = 0x08
		b[at+2] = 0x46 // with an option word
		b[at+2+24+7] = checksum
		return b
	}
	frames := make([]ring.Frame, 1)
	poll := func(t *testing.T, b []byte, typ ring.RxType, s ring.RxStatus) ring.Info {
		r, q := newRing(t, drivertest.Options{Size: 8})
		copy(r.Buffer(r.Head()), b)
		r.Complete(typ, (s | ring.RxDD | ring.RxEOP).WithLength(len(b)))
		require.Equal(t, 1, q.Poll(frames))
		return frames[0].Info &^ (ring.IPv4 | ring.UDP | ring.TCP)
	}
	bad := ring.RxL4I | ring.RxL4E
	isUDP := ring.PktIPv4 | ring.PktUDP
	require.Zero(t, poll(t, udp(0, 0), isUDP, bad))
	require.Equal(t, ring.HasVLAN, poll(t, udp(0, 2), isUDP, bad|ring.RxVP))
	require.Equal(t, ring.L4Checked|ring.L4Bad, poll(t, udp(1, 0), isUDP, bad))
	require.Equal(t, ring.L4Checked|ring.L4Bad, poll(t, udp(0, 0), ring.PktIPv4|ring.PktTCP, bad))
	require.Equal(t, ring.L4Checked, poll(t, udp(0, 0), isUDP, ring.RxL4I))
	require.Equal(t, ring.L4Checked|ring.L4Bad, poll(t, udp(0, 0)[:40], isUDP, bad), "cut short")
}

func TestPollDoesNotAllocate(t *testing.T) {
	for _, size := range []int{60, 1514, 9014} {
		r, q := newRing(t, drivertest.Options{Size: 512})
		frames := make([]ring.Frame, 32)
		require.Zero(t, testing.AllocsPerRun(50, func() {
			r.Fill(100, size)
			for q.Poll(frames) > 0 {
				q.Release()
			}
		}), "%d bytes", size)
	}
}

func TestNewRxQueueRefusesImpossibleMemory(t *testing.T) {
	good := driver.RxMemory{Descriptors: make([]byte, 16*16), Buffers: make([]byte, 16*2048), BufferSize: 2048, Tail: &drivertest.Register{}}
	_, err := driver.NewRxQueue(good)
	require.NoError(t, err)
	for want, spoil := range map[string]func(*driver.RxMemory){
		"multiple of 8":    func(m *driver.RxMemory) { m.Descriptors = m.Descriptors[:9*16] },
		"hold no 16":       func(m *driver.RxMemory) { m.Buffers = m.Buffers[:1000] },
		"64 to 16384":      func(m *driver.RxMemory) { m.BufferSize = 17 << 10 },
		"even distance":    func(m *driver.RxMemory) { m.Stride = 2047 },
		"no tail register": func(m *driver.RxMemory) { m.Tail = nil },
	} {
		m := good
		spoil(&m)
		_, err := driver.NewRxQueue(m)
		require.ErrorContains(t, err, want)
	}
}

// FuzzRing is a device that writes back any bytes: Poll neither panics nor returns
// memory outside the ring's buffers, and the ring continues to work.
func FuzzRing(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 60, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 8, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := drivertest.NewRing(drivertest.Options{Size: 16, MaxChain: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		b = b[:min(len(b), 512)]
		q := r.Queue()
		frames := make([]ring.Frame, 5)
		poll := func() (got int) {
			for {
				n := q.Poll(frames)
				for i := range frames[:n] {
					f := &frames[i]
					total := len(f.Data)
					for _, p := range f.Rest {
						total += len(p)
						if len(p) > 2048 {
							t.Fatalf("part of %d bytes", len(p))
						}
					}
					if total != int(f.Len) || total == 0 || len(f.Data) > 2048 || len(f.Rest) > 2 {
						t.Fatalf("frame of %d bytes in %d + %d parts of %d bytes", f.Len, len(f.Data), len(f.Rest), total)
					}
				}
				q.Release()
				if n == 0 {
					return got
				}
				got += n
			}
		}
		for ; len(b) >= 8; b = b[8:] {
			if r.Owned() == 0 {
				poll()
			}
			if r.Owned() == 0 {
				break // a frame of more descriptors than the ring has never completes
			}
			s := ring.RxStatus(binary.LittleEndian.Uint64(b))
			r.Complete(ring.RxType(s*0x9e3779b97f4a7c15), s|ring.RxDD)
			if s&1 == 0 {
				poll()
			}
		}
		poll()
		if r.Owned() < 2 {
			t.Fatalf("the device owns %d descriptors", r.Owned())
		}
		r.Complete(0, (ring.RxDD | ring.RxEOP).WithLength(1)) // completes an open frame
		poll()
		if r.Fill(1, 60) != 1 || poll() != 1 {
			t.Fatal("the ring does not work any more")
		}
	})
}
