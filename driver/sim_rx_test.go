package driver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func TestModelFramesArriveByteForByte(t *testing.T) {
	for _, c := range []struct {
		name, options string
		cfg           driver.Config
	}{
		{"60 bytes", "gen,size=60,count=20000", driver.Config{}},
		{"full size", "gen,size=1514,count=10000,flows=50", driver.Config{}},
		{"all sizes", "gen,size=60-15868,count=1500", driver.Config{}},
		{"jumbo through a small ring", "gen,size=9014,count=1000", driver.Config{RingSize: 16}},
		{"small buffers", "gen,size=60-9014,count=1000", driver.Config{BufferSize: 1024, RingSize: 64}},
		{"large buffers", "gen,size=60-15868,count=700", driver.Config{BufferSize: 16384, RingSize: 32}},
		{"smallest ring", "gen,size=60-1514,count=5000", driver.Config{RingSize: 8, MaxFrame: 1514, RefillBatch: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := wire.ParseOptions(c.options)
			require.NoError(t, err)
			want, err := wire.NewGenerator(all)
			require.NoError(t, err)
			r := open(t, c.options+",backpressure", c.cfg)
			require.NoError(t, r.port.Start())
			var b []byte
			n := 0
			for _, f := range r.receive() {
				b = want.Append(b[:0], uint64(n))
				if !bytes.Equal(b, f.data) {
					require.Equal(t, b, f.data, "frame %d", n)
				}
				require.Equal(t, ring.HasHash|ring.IPv4|ring.UDP|ring.IPChecked|ring.L4Checked, f.info)
				n++
			}
			require.EqualValues(t, want.Count(), n)
			s := r.balance()
			require.EqualValues(t, n, s.Wire)
			require.Zero(t, s.Lost())
		})
	}
}

// endpoints reads addresses and ports of a TCP or UDP frame over IPv4, untagged.
func endpoints(b []byte) (src, dst netip.AddrPort) {
	ip := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at:])) }
	port := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	return netip.AddrPortFrom(ip(26), port(34)), netip.AddrPortFrom(ip(30), port(36))
}

func TestModelSpreadsFlowsOverQueuesByTheirHash(t *testing.T) {
	for _, key := range []*driver.RSSKey{&driver.MicrosoftKey, &driver.SymmetricKey} {
		for _, queues := range []int{1, 2, 3, 5, 8, 16} {
			t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
				r := open(t, "gen,size=60,flows=1000,count=4000,rate=500kpps,backpressure", driver.Config{Queues: queues, RingSize: 1024, RSS: driver.RSS{Key: key}})
				require.NoError(t, r.port.Start())
				seen := map[int]int{}
				for _, f := range r.receive() {
					hash := key.Hash(endpoints(f.data))
					require.Equal(t, hash, f.hash)
					require.Equal(t, r.port.RSS().QueueOf(hash), f.queue)
					seen[f.queue]++
				}
				require.Len(t, seen, queues, "every queue receives")
				s := r.balance()
				require.EqualValues(t, 4000, s.Wire)
				for q, n := range seen {
					require.EqualValues(t, n, s.Queues[q].Received)
				}
			})
		}
	}
}

func TestModelVLANStaysInTheFrameUnlessStripped(t *testing.T) {
	const options = "gen,size=100,vlan=42,count=100,backpressure"
	t.Run("kept", func(t *testing.T) {
		r := open(t, options, driver.Config{RingSize: 512})
		require.NoError(t, r.port.Start())
		all := r.receive()
		require.Len(t, all, 100)
		for _, f := range all {
			require.Len(t, f.data, 100)
			require.Equal(t, []byte{0x81, 0x00}, f.data[12:14])
			require.Equal(t, uint16(42), f.vlan&0xfff)
			require.NotZero(t, f.info&ring.HasVLAN)
			require.Zero(t, f.info&ring.Stripped)
		}
		r.balance()
	})
	t.Run("stripped", func(t *testing.T) {
		r := open(t, options, driver.Config{RingSize: 512, StripVLAN: true})
		require.NoError(t, r.port.Start())
		all := r.receive()
		require.Len(t, all, 100)
		for _, f := range all {
			require.Len(t, f.data, 96)
			require.Equal(t, []byte{0x08, 0x00}, f.data[12:14])
			require.Equal(t, uint16(42), f.vlan&0xfff)
			require.NotZero(t, f.info&ring.Stripped)
		}
		r.balance()
	})
}

// udpFrame returns UDP over IPv4, with wrong checksums or without one of UDP.
func udpFrame(t *testing.T, spoilIP, spoilUDP, noUDP bool) []byte {
	all, err := wire.ParseOptions("gen,size=80,count=1")
	require.NoError(t, err)
	g, err := wire.NewGenerator(all)
	require.NoError(t, err)
	b := g.Append(nil, 0)
	if spoilIP {
		b[24] ^= 0xff
	}
	if spoilUDP {
		b[70] ^= 0xff
	}
	if noUDP {
		b[40], b[41] = 0, 0
	}
	return b
}

func TestModelChecksumsAreReported(t *testing.T) {
	w := &testWire{frames: [][]byte{
		udpFrame(t, false, false, false), udpFrame(t, true, false, false), udpFrame(t, false, true, false),
		udpFrame(t, false, false, true), make([]byte, 60),
	}}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64})
	require.NoError(t, r.port.Start())
	all := r.receive()
	require.Len(t, all, 5)
	checks := func(i int) ring.Info {
		return all[i].info & (ring.IPChecked | ring.IPBad | ring.L4Checked | ring.L4Bad | ring.FrameError)
	}
	require.Equal(t, ring.IPChecked|ring.L4Checked, checks(0))
	require.Equal(t, ring.IPBad|ring.IPChecked, checks(1)&(ring.IPChecked|ring.IPBad))
	require.Equal(t, ring.IPChecked|ring.L4Checked|ring.L4Bad, checks(2))
	require.Zero(t, checks(3)&ring.L4Bad, "sent without checksum")
	require.Zero(t, all[4].info, "no IP")
	r.balance()
}

func TestModelRunPausesAndControlFramesArePassed(t *testing.T) {
	pause := make([]byte, 60)
	copy(pause, []byte{0x01, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0x08, 0, 1, 0xff, 0xff})
	w := &testWire{frames: [][]byte{pause, make([]byte, 20)}}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64})
	require.NoError(t, r.port.Start())
	all := r.receive()
	require.Len(t, all, 2)
	require.Equal(t, pause, all[0].data, "pause frames are delivered and have no effect")
	require.Len(t, all[1].data, 60, "the sender pads a runt")
	r.balance()
}

func TestModelBadFramesAreCountedByRegister(t *testing.T) {
	t.Run("CRC", func(t *testing.T) {
		r := open(t, "gen,size=60,count=1000,backpressure,fault=crc:10", driver.Config{})
		require.NoError(t, r.port.Start())
		require.Len(t, r.receive(), 900)
		s := r.balance()
		require.EqualValues(t, 1000, s.Wire)
		require.EqualValues(t, 100, by(s.Bad, "CRCERRS"))
	})
	t.Run("too long", func(t *testing.T) {
		long, short := make([]byte, 1515), make([]byte, 1514)
		tagged := make([]byte, 1518)
		tagged[12] = 0x81
		w := &testWire{frames: [][]byte{short, long, tagged, short}}
		r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, MaxFrame: 1514})
		require.NoError(t, r.port.Start())
		require.Len(t, r.receive(), 3, "a tag does not count")
		s := r.balance()
		require.EqualValues(t, 4, s.Wire)
		require.EqualValues(t, 1, by(s.Bad, "ROC"))
	})
}

func TestModelOverrunIsCountedAndBalances(t *testing.T) {
	for _, c := range []struct {
		name, register string
		cfg            driver.Config
	}{
		{"one queue: the packet buffer overflows", "RXMPC", driver.Config{RingSize: 64}},
		{"two queues: the rings overflow", "QPRDC", driver.Config{RingSize: 64, Queues: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, "gen,size=60,flows=100,count=50000,rate=5Mpps", c.cfg)
			require.NoError(t, r.port.Start())
			// No poll until the wire has ended.
			require.Eventually(t, func() bool { return r.nic.Stats().Offered == 50000 }, testtime.Deadline, time.Millisecond)
			got := len(r.receive())
			s := r.balance()
			require.EqualValues(t, 50000, s.Wire)
			require.EqualValues(t, got, s.Received)
			require.NotZero(t, by(s.Missed, c.register))
			require.Equal(t, s.Lost(), by(s.Missed, c.register), "in no other register")
		})
	}
}

func TestModelStopDeliversTheFramesInsideThePort(t *testing.T) {
	r := open(t, "gen,size=60,flows=9,rate=1Mpps", driver.Config{RingSize: 512})
	require.NoError(t, r.port.Start())
	frames := make([]ring.Frame, 64)
	q := r.port.RxQueue(0)
	got := uint64(0)
	poll := func() int {
		n := q.Poll(frames)
		q.Release()
		got += uint64(n)
		return n
	}
	for got < 20000 {
		poll()
	}
	require.NoError(t, r.port.Stop())
	for !r.port.Drained() { // no frame is left in the port ...
		poll()
	}
	for poll() > 0 { // ... and then none in the ring
	}
	s, err := r.port.Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.Equal(t, s.Received, got, "every frame the device delivered was polled")
	require.Zero(t, poll())
	require.NoError(t, r.port.Start())
	before := got
	require.Eventually(t, func() bool { poll(); return got > before+1000 }, testtime.Deadline, time.Millisecond, "it continues")
}

func TestModelRemovedDeviceEndsInOrder(t *testing.T) {
	r := open(t, "gen,size=60,count=100000,rate=2Mpps,fault=remove:5000", driver.Config{})
	require.NoError(t, r.port.Start())
	frames := make([]ring.Frame, 64)
	q := r.port.RxQueue(0)
	got := 0
	require.Eventually(t, func() bool {
		_, err := r.port.Stats()
		return errors.Is(err, driver.ErrGone)
	}, testtime.Deadline, time.Millisecond)
	for n := q.Poll(frames); n > 0; n = q.Poll(frames) {
		got += n
		q.Release()
	}
	require.LessOrEqual(t, got, 5000)
	require.False(t, r.port.Link().Up)
	s, err := r.port.Stats()
	require.ErrorIs(t, err, driver.ErrGone)
	require.LessOrEqual(t, s.Wire, uint64(5000), "all ones are not counted")
	require.NoError(t, r.port.Close())
}

func TestModelCyclesLeaveNothingBehind(t *testing.T) {
	w := &testWire{open: true}
	nic, err := sim.New(sim.Config{}, w)
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:cycles")
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	var fds, maps int
	for cycle := range 20 {
		p, err := driver.Open(dev, driver.Config{Queues: cycle%16 + 1, TxQueues: cycle % 3, RingSize: 64, TxRingSize: 64})
		require.NoError(t, err)
		require.NoError(t, p.Start())
		w.mu.Lock()
		w.frames = append(w.frames, udpFrame(t, false, false, false))
		w.mu.Unlock()
		frames := make([]ring.Frame, 1)
		require.Eventually(t, func() bool {
			return slices.ContainsFunc(rxQueues(p), func(q *driver.RxQueue) bool { return q.Poll(frames) == 1 })
		}, testtime.Deadline, time.Millisecond)
		if cycle%2 == 0 {
			require.NoError(t, p.Stop())
		}
		require.NoError(t, p.Close())
		if cycle%7 == 3 {
			require.NoError(t, dev.Reset())
		}
		f, m := handles(t)
		if cycle > 0 {
			require.Equal(t, [2]int{fds, maps}, [2]int{f, m}, "cycle %d", cycle)
		}
		fds, maps = f, m
	}
	require.Zero(t, nic.Stats().Faults, nic.Stats().LastFault)
}
