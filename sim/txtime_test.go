package sim

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim/wire"
)

// passAt makes one pass of the device thread at a time after the port's start.
func (r *rig) passAt(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.NIC.tx.start.Add(after)
	r.NIC.tx.clock = func() time.Time { return now }
	r.step(now)
}

// linkUp makes the first passes, which bring the link up. Later passes are an hour later.
func (x *txRing) linkUp() time.Duration {
	x.r.run()
	return time.Hour
}

// post makes the frames' descriptors the port's at a time.
func (x *txRing) post(at time.Duration) {
	x.r.write(txReg(0, qTAIL), x.tail)
	x.r.passAt(at)
}

// limit sets the rate factor of a queue.
func (r *rig) limit(queue int, factor float64) {
	r.write(rRTTDQSEL, uint32(queue))
	r.write(0x4984, 1<<31|uint32(factor*(1<<14)))
}

// gaps are the distances of the frames sent from the one before, in ns.
func (r *rig) gaps() (gaps []int64) {
	sent, _ := r.Sent()
	for i := 1; i < len(sent); i++ {
		gaps = append(gaps, sent[i].At-sent[i-1].At)
	}
	return gaps
}

func TestFramesLeaveAtLineRate(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.RecordSent(100)
	for range 50 {
		x.data(plain(60), advanced)
	}
	x.post(at)
	r.passAt(at + time.Microsecond)
	require.Len(t, r.w.sent, 15, "57.6 ns to the end of the first, 67.2 ns more for each other")
	r.passAt(at + time.Millisecond)
	require.Len(t, r.w.sent, 50)
	sent, _ := r.Sent()
	require.InDelta(t, 49*67.2, sent[49].At-sent[0].At, 1)
	require.EqualValues(t, 72*8/10, sent[0].At-r.NIC.tx.zero-int64(at), "preamble, frame and CRC")
}

// A frame that is posted while the line is idle is sent then, even if the device thread
// sees it together with older ones.
func TestFramesDoNotLeaveBeforeTheyArePosted(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.RecordSent(100)
	r.limit(0, 1000) // 512 us for each frame
	for range 3 {
		x.data(plain(60), advanced)
	}
	x.post(at)
	for range 3 {
		x.data(plain(60), advanced)
	}
	x.post(at + 10*time.Millisecond)
	r.passAt(at + time.Second)
	gaps := r.gaps()
	require.Equal(t, []int64{51200, 51200}, gaps[:2])
	require.InDelta(t, 10e6-2*51200, gaps[2], 100)
	require.Equal(t, []int64{51200, 51200}, gaps[3:])
}

// bar is BAR 0 of a rig.
type bar struct {
	pci.Region
	*rig
}

func (b bar) Store32(off, v uint32) { b.write(off, v) }

// A client in this process posts when it stores the tail, however late the device thread
// sees that.
func TestFramesLeaveWhenAClientInThisProcessPostsThem(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	x.linkUp()
	r.RecordSent(10)
	client := tailClock{bar{rig: r}, r.NIC}
	var at []int64
	for range 3 {
		x.data(plain(60), advanced)
		x.data(plain(60), advanced)
		before := time.Now()
		client.Store32(txReg(0, qTAIL), x.tail)
		at = append(at, before.UnixNano(), time.Now().UnixNano())
	}
	r.passAt(time.Hour)
	sent, _ := r.Sent()
	require.Len(t, sent, 6)
	for i := range 3 {
		require.GreaterOrEqual(t, sent[2*i].At, at[2*i]+57)
		require.LessOrEqual(t, sent[2*i].At, at[2*i+1]+58)
		require.InDelta(t, 67.2, sent[2*i+1].At-sent[2*i].At, 1)
	}
}

// A client that keeps the ring full does not lose time for which the device thread is late,
// one that lets it run empty does.
func TestLimitedQueueDoesNotWaitForTheDeviceThread(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.RecordSent(500)
	r.limit(0, 1000) // 51.2 us for each frame of 64 bytes
	const ring, frame = 63, 51200 * time.Nanosecond
	post := func(n int) {
		for range n {
			x.data(plain(60), advanced)
		}
	}
	post(ring)
	x.post(at)
	at += 100 * time.Millisecond // late, the ring would be empty since 97 ms
	r.passAt(at)
	for range 5 {
		post(30)
		x.post(at)
		at += 10 * time.Microsecond
	}
	gaps := r.gaps()
	require.Len(t, gaps, ring+5*30-1)
	for i, gap := range gaps {
		require.EqualValues(t, 51200, gap, i)
	}
	r.RecordSent(500)
	at += time.Second
	post(ring)
	for x.post(at); len(r.gaps()) < ring-1; at += frame {
		r.passAt(at)
	}
	at += 20 * time.Millisecond
	post(2)
	x.post(at)
	r.passAt(at + frame)
	sent, _ := r.Sent()
	require.Len(t, sent, ring+2)
	require.InDelta(t, 20*time.Millisecond, sent[ring].Late, 1e5, "the client was late")
	require.Zero(t, sent[ring+1].Late)
}

// The times are the limiter's even if the device thread runs late.
func TestRateLimiterSpacesFrames(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.RecordSent(100)
	r.limit(3, 7)
	r.limit(0, 2.5)
	require.EqualValues(t, 1<<31|5<<13, r.read(0x4984))
	r.write(rRTTDQSEL, 3)
	require.EqualValues(t, 1<<31|7<<14, r.read(0x4984))
	for range 40 {
		x.data(plain(60), advanced)
	}
	x.post(at)
	r.passAt(at + 500*time.Nanosecond)
	require.Len(t, r.w.sent, 4, "57.6 ns to the end of the first, 128 ns more for each other")
	r.passAt(at + time.Second)
	r.passAt(at + 2*time.Second)
	require.Len(t, r.w.sent, 40)
	for _, gap := range r.gaps() {
		require.EqualValues(t, 128, gap, "64 bytes at 4 Gb/s")
	}
	r.write(rRTTDQSEL, 0)
	r.write(0x4984, 0)
	r.RecordSent(100)
	for range 20 {
		x.data(plain(60), advanced)
	}
	x.post(at + 3*time.Second)
	r.passAt(at + 4*time.Second)
	require.InDelta(t, 67, r.gaps()[0], 1, "no limit")
}

func TestQueueThatWasHeldUpCatchesUpByItsWindow(t *testing.T) {
	// 5120 ticks for each frame of 64 bytes, a window of 16 frames.
	l, q := txLine{bit: 1, mmw: 1024 * 8}, txTiming{rate: 10 << rateShift}
	begins := func(n int) (list []int64) {
		for range n {
			list = append(list, l.schedule(&q, 64)-72*8)
		}
		return list
	}
	require.Equal(t, []int64{0, 5120}, begins(2))
	l.free = 30000 // frames of other queues: until then
	require.Equal(t, []int64{30000, 30672, 31344, 32016, 32688, 35840, 40960, 46080}, begins(8), "the schedule goes on")
	l.free = 1_040_960
	list := begins(22)
	require.EqualValues(t, 1_040_960+16*672, list[16])
	require.EqualValues(t, 5120, list[21]-list[20], "a window of 16 frames was left of 200")
	q.ready = 2_000_000
	require.Equal(t, []int64{2_000_000, 2_005_120}, begins(2), "no frames, nothing to catch up")
}

func TestFrameWithAWrongCRCFillsTheLine(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.RecordSent(10)
	good := plain(60)
	good = binary.LittleEndian.AppendUint32(good, crc32.ChecksumIEEE(good))
	bad := append(plain(996), 1, 2, 3, 4)
	const raw = advanced &^ tdIFCS
	x.data(good, raw)
	x.data(bad, raw)
	x.data(plain(60), advanced)
	x.post(at)
	r.passAt(at + time.Second)
	require.Equal(t, [][]byte{plain(60), plain(60)}, r.w.sent, "a wire without CRCs does not get it")
	sent, _ := r.Sent()
	require.Len(t, sent, 2)
	require.InDelta(t, 67.2+1020*.8, sent[1].At-sent[0].At, 1)
	require.Zero(t, r.Stats().Faults, r.Stats().LastFault)
	require.EqualValues(t, 3, r.read(cGPTC), "the MAC does not check a CRC that it did not compute")
}

func TestReceiverDropsAFrameWithAWrongCRC(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	r.run()
	r.wire = &badWire{}
	r.run()
	require.Empty(t, x.all())
	require.EqualValues(t, 1, r.read(cCRCERRS))
	require.EqualValues(t, 1, r.Stats().BadCRC)
}

// badWire delivers one frame with a wrong CRC.
type badWire struct {
	testWire
	done bool
}

func (w *badWire) Receive(frames []wire.Frame, _ int) (int, error) {
	if w.done {
		return 0, nil
	}
	w.done = true
	frames[0] = wire.Frame{Data: plain(100), Damage: wire.BadCRC}
	return 1, nil
}
