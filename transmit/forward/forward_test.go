package forward_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
	"github.com/ixcap/ixcap/transmit/forward"
)

// small is a configuration whose rings and pools turn around often.
var small = forward.Config{RingSize: 64, Chunks: 12, ChunkSize: 16}

// window frames of the longest fit the transmit ring of small: none is dropped.
const window = 6

// Frames of all lengths go both ways at once, in order and byte for byte.
func TestFramesGoBothWaysByteForByte(t *testing.T) {
	const n = 800
	a, b := pair(window)
	ab, ba := randomFrames(1, n, 9000), randomFrames(2, n, driver.MaxFrame)
	a.push(ab...)
	b.push(ba...)
	r := open(t, small, a, b)
	require.NoError(t, r.WaitLinks(t.Context()))
	report := r.run(nil)
	equal(t, ab, b.sentFrames())
	equal(t, ba, a.sentFrames())
	for _, d := range report.Directions {
		require.EqualValues(t, n, d.Forwarded)
		require.EqualValues(t, n, d.Sent)
	}
}

func equal(t *testing.T, want, got [][]byte) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.True(t, bytes.Equal(want[i], got[i]), "frame %d of %d and %d bytes", i, len(want[i]), len(got[i]))
	}
}

// A single port sends back what it receives, on the queue that has received it.
func TestFramesGoBackThroughOnePort(t *testing.T) {
	w := &testWire{window: window}
	w.other = w
	frames := randomFrames(1, 500, 9000)
	w.push(frames...)
	cfg := small
	mac := [6]byte{2, 0, 0, 0, 0, 9}
	cfg.Edits[0] = forward.Edit{Src: &mac, Dst: &[6]byte{2, 0, 0, 0, 0, 8}}
	r := open(t, cfg, w)
	require.NoError(t, r.WaitLinks(t.Context()))
	report := r.run(nil)
	require.Len(t, report.Directions, 1)
	for _, f := range frames {
		copy(f, "\x02\x00\x00\x00\x00\x08\x02\x00\x00\x00\x00\x09")
	}
	equal(t, frames, w.sentFrames())
}

// udp is a UDP datagram between two addresses.
func udp(src, dst string, port uint16, size int) []byte {
	f := make([]byte, size)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00")
	binary.BigEndian.PutUint16(f[16:], uint16(size-14))
	f[22], f[23] = 64, 17
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(f[26:], s[:])
	copy(f[30:], d[:])
	binary.BigEndian.PutUint16(f[34:], port)
	binary.BigEndian.PutUint16(f[36:], port)
	binary.BigEndian.PutUint16(f[38:], uint16(size-34))
	return f
}

// tagged inserts a tag behind the addresses.
func tagged(f []byte, tag uint16) []byte {
	return slices.Concat(f[:12], []byte{0x81, 0, byte(tag >> 8), byte(tag)}, f[12:])
}

// One direction gets a tag, the other loses it; addresses are set, and a filter drops.
func TestFramesAreEdited(t *testing.T) {
	a, b := pair(0)
	var ab, ba [][]byte
	for i := range 300 {
		f := udp("10.0.0.1", "10.0.0.2", uint16(1000+i%3), 60+i*4)
		a.push(f)
		if i%3 != 1 {
			g := tagged(f, 7)
			copy(g[6:], "\x02\x00\x00\x00\x00\x55")
			ab = append(ab, g)
		}
		g := udp("10.0.0.2", "10.0.0.1", 1, 60+i*4)
		b.push(tagged(g, uint16(i%3)<<13|9), g)
		ba = append(ba, g, g)
	}
	filter, err := pcapfilter.Compile("not port 1001")
	require.NoError(t, err)
	cfg := forward.Config{Edits: [2]forward.Edit{
		{Filter: filter, PushVLAN: 7, Src: &[6]byte{2, 0, 0, 0, 0, 0x55}},
		{PopVLAN: true},
	}}
	r := open(t, cfg, a, b)
	require.NoError(t, r.WaitLinks(t.Context()))
	report := r.run(nil)
	equal(t, ab, b.sentFrames())
	equal(t, ba, a.sentFrames())
	require.EqualValues(t, 100, report.Directions[0].Filtered)
	require.EqualValues(t, 200, report.Directions[0].Forwarded)
}

// What the other line has no time for is dropped, and told by cause: frames get longer by a
// tag, so that the line that sends is slower.
func TestFramesThatTheOtherLineHasNoTimeForAreCounted(t *testing.T) {
	a, err := wire.Parse(options(t, "gen,size=60,count=20000,burst=1ms"))
	require.NoError(t, err)
	b := &testWire{}
	cfg := small
	cfg.Edits[0].PushVLAN = 1
	r := open(t, cfg, a, b)
	require.NoError(t, r.WaitLinks(t.Context()))
	report := r.run(nil)
	d := report.Directions[0]
	require.EqualValues(t, 20_000, d.Received.Wire)
	require.Positive(t, d.Sent)
	require.Equal(t, d.Frames, d.Full+d.Sent)
	require.Equal(t, int(d.Sent), len(b.sentFrames()))
}

func options(t *testing.T, text string) []wire.Option {
	all, err := wire.ParseOptions(text)
	require.NoError(t, err)
	return all
}

// Frames to a port without a link are dropped and counted, those that wait in its ring too, and
// the other direction goes on.
func TestLinkDownAtTheExit(t *testing.T) {
	a, b := pair(0)
	b.open = true // the test ends
	b.down.Store(true)
	cfg := small
	cfg.Count = 500
	a.push(randomFrames(1, 500, 1514)...)
	r := open(t, cfg, a, b)
	report := r.run(nil)
	d := report.Directions[0]
	require.EqualValues(t, 500, d.Down)
	require.Zero(t, d.Sent)
}

// The link goes down while frames wait to be sent: those stay in the port, and are told.
func TestLinkGoesDown(t *testing.T) {
	a, b := pair(0)
	a.open, b.open = true, true
	r := open(t, small, a, b)
	require.NoError(t, r.WaitLinks(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var report forward.Report
	done := make(chan error, 1)
	go func() {
		var err error
		report, err = r.Run(ctx, nil)
		done <- err
	}()
	a.push(randomFrames(1, 40, 1514)...)
	require.Eventually(t, func() bool { return b.got.Load() == 40 }, 30*time.Second, time.Millisecond)
	b.down.Store(true)
	for i := range 1000 {
		a.push(randomFrame(1, i, 1514))
	}
	require.Eventually(t, func() bool { return r.Counts().Frames == 1040 }, 30*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, report.Balanced())
	d := report.Directions[0]
	require.EqualValues(t, b.got.Load(), d.Sent)
	require.EqualValues(t, 1040, d.Sent+d.Unsent+d.Down+d.Full)
	require.Positive(t, d.Unsent, "what waited in the ring")
}

// Bad frames are not forwarded, and counted by the port.
func TestBadFramesAreNotForwarded(t *testing.T) {
	a, b := pair(0)
	good := randomFrames(1, 100, 1514)
	for i, f := range good {
		a.push(f)
		a.frames = append(a.frames, wire.Frame{Data: randomFrame(3, i, 1514), Damage: wire.BadCRC, CRC: 1})
	}
	r := open(t, forward.Config{MaxFrame: 1514}, a, b)
	require.NoError(t, r.WaitLinks(t.Context()))
	report := r.run(nil)
	equal(t, good, b.sentFrames())
	require.EqualValues(t, 200, report.Directions[0].Received.Wire)
	require.Contains(t, report.Directions[0].Received.Bad, capture.Count{Cause: "CRCERRS", Frames: 100})
}

// The device that sends, or the one that receives, is unplugged: Run ends and says so, what
// was read is accounted for, and no memory is used after it is freed.
func TestDeviceIsUnplugged(t *testing.T) {
	for gone := range 2 {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			a, b := pair(window)
			a.open, b.open = true, true
			a.push(randomFrames(1, 5000, 1514)...)
			b.push(randomFrames(2, 5000, 1514)...)
			r := &rig{t: t}
			var devices []pci.Device
			for i, w := range []*testWire{a, b} {
				cfg := sim.Config{}
				if i == gone {
					cfg.Faults.RemoveAfter = 300
				}
				nic, dev := device(t, w, cfg)
				r.nics, devices = append(r.nics, nic), append(devices, dev)
			}
			r.connect(small, devices)
			require.NoError(t, r.WaitLinks(t.Context()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			report, err := r.Run(ctx, nil)
			require.Error(t, err)
			require.NoError(t, ctx.Err())
			require.NoError(t, report.Balanced())
			require.True(t, report.Directions[gone].Lost)
			require.False(t, report.Directions[1-gone].Lost)
			require.Positive(t, report.Directions[gone].Sent)
		})
	}
}

// An engine captures both ports while they forward: its streams have each frame as it was
// received, also those that are dropped, and the ledgers balance.
func TestTapSeesWhatIsForwarded(t *testing.T) {
	const n = 600
	wires := make([]*testWire, 2)
	wires[0], wires[1] = pair(window)
	var want [2][][]byte
	for i := range want {
		for k := range n {
			want[i] = append(want[i], udp("10.0.0.1", "10.0.0.2", uint16(k%5), 60+k*5))
		}
		wires[i].push(want[i]...)
	}
	cfg := small
	cfg.Edits[0].PushVLAN = 9
	cfg.Edits[1].Dst = &[6]byte{2, 0, 0, 0, 0, 7}
	r := open(t, cfg, wires[0], wires[1])
	require.NoError(t, r.WaitLinks(t.Context()))
	var engines []*capture.Engine
	var listeners []*stream.Listener
	for i := range 2 {
		e, err := capture.New(r.Tap(i), capture.Config{Buffer: 64 << 20, Pages: hugepage.Ordinary})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		l, err := e.Stream(0).Listen("test", stream.Options{})
		require.NoError(t, err)
		engines, listeners = append(engines, e), append(listeners, l)
	}
	report := r.run(func(ctx context.Context, i int) error {
		l, err := engines[i].Run(ctx, 0)
		require.NoError(t, l.Balanced())
		require.Zero(t, l.Lost())
		return err
	})
	for i, l := range listeners {
		var got [][]byte
		for p := range l.Packets(t.Context()) {
			got = append(got, slices.Clone(p.Data))
		}
		equal(t, want[i], got)
		require.NoError(t, l.Close())
	}
	for i := range n {
		want[0][i] = tagged(want[0][i], 9)
		copy(want[1][i], "\x02\x00\x00\x00\x00\x07")
	}
	equal(t, want[0], wires[1].sentFrames())
	equal(t, want[1], wires[0].sentFrames())
	require.EqualValues(t, n, report.Directions[0].Sent)
	require.EqualValues(t, n, report.Directions[1].Sent)
}
