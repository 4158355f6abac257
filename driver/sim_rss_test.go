package driver_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// ipFrame is a frame of a protocol between two endpoints of one family, without valid
// checksums. l2 is what stands between the addresses and the EtherType: tags.
func ipFrame(src, dst netip.AddrPort, proto byte, l2 ...byte) []byte {
	b := append(make([]byte, 12), l2...)
	const transport = 24
	if src.Addr().Is4() {
		b = append(b, 0x08, 0x00, 0x45, 0, 0, 20+transport, 0, 0, 0, 0, 64, proto, 0, 0)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, transport, proto, 64)
	}
	b = append(append(b, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = append(b, 0, transport, 0, 0)
	b = append(b, make([]byte, transport-8)...)
	return append(b, make([]byte, max(60-len(b), 0))...)
}

// randomFlow returns the endpoints of a random flow.
func randomFlow(r *rand.Rand) (src, dst netip.AddrPort) {
	address := func() netip.Addr {
		var b [16]byte
		binary.NativeEndian.PutUint64(b[:], r.Uint64())
		binary.NativeEndian.PutUint64(b[8:], r.Uint64())
		return netip.AddrFrom16(b)
	}
	a, b := address(), address()
	if r.IntN(2) == 0 {
		a, b = netip.AddrFrom4([4]byte(a.AsSlice())), netip.AddrFrom4([4]byte(b.AsSlice()))
	}
	return netip.AddrPortFrom(a, uint16(r.Uint32())), netip.AddrPortFrom(b, uint16(r.Uint32()))
}

// through passes frames through the port, at most 1000 at a time, so that no ring
// overflows, and returns all that filters do not drop.
func (r *rig) through(frames [][]byte) (all []frame) {
	r.t.Helper()
	w := r.wire
	check := deadline(r.t, time.Minute)
	for part := range slices.Chunk(frames, 1000) {
		before := r.nic.Stats().QueueDisabled
		w.push(part...)
		for got := 0; got+int(r.nic.Stats().QueueDisabled-before) < len(part); {
			had := got
			for q := range r.port.RxQueues() {
				var list [64]ring.Frame
				n := r.port.RxQueue(q).Poll(list[:])
				for i := range list[:n] {
					f := &list[i]
					all = append(all, frame{bytes.Clone(f.Data), q, f.Hash, f.VLAN, f.Info})
				}
				r.port.RxQueue(q).Release()
				got += n
			}
			check("%d of %d frames: %+v", got, len(part), r.nic.Stats())
			if got == had {
				time.Sleep(20 * time.Microsecond) // the model answers who changes its registers
			}
		}
	}
	return all
}

// Every frame of random flows, 10,000 with the default, a fifth of them tagged, has the hash that its
// protocol's setting says and lands on the queue that the table says.
func TestModelHashesByProtocol(t *testing.T) {
	table := make([]int, driver.RSSTableSize)
	for i := range table {
		table[i] = i * 5 % 16
	}
	for name, c := range map[string]struct {
		fields         driver.HashFields
		ports4, ports6 []byte // protocols hashed with ports
		ip4, ip6       bool   // others are hashed by address
	}{
		"all":       {0, []byte{protoTCP, protoUDP}, []byte{protoTCP, protoUDP}, true, true},
		"Linux":     {driver.AllFields &^ (driver.HashUDPv4 | driver.HashUDPv6), []byte{protoTCP}, []byte{protoTCP}, true, true},
		"addresses": {driver.HashIPv4 | driver.HashIPv6, nil, nil, true, true},
		"UDP":       {driver.HashUDPv4 | driver.HashUDPv6, []byte{protoUDP}, []byte{protoUDP}, false, false},
		"IPv6 only": {driver.HashTCPv6 | driver.HashIPv6, nil, []byte{protoTCP}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var frames [][]byte
			want := map[string]uint32{}
			flows := 1000
			if c.fields == 0 {
				flows = 10000
			}
			for i := range flows {
				src, dst := randomFlow(r)
				proto := []byte{protoTCP, protoUDP, protoSCTP}[i%3]
				var tag []byte
				if i%5 == 0 {
					tag = []byte{0x81, 0x00, 0, byte(i)}
				}
				ports, ip := c.ports4, c.ip4
				if src.Addr().Is6() {
					ports, ip = c.ports6, c.ip6
				}
				var hash uint32
				switch {
				case slices.Contains(ports, proto):
					hash = driver.MicrosoftKey.Hash(src, dst)
				case ip:
					hash = driver.MicrosoftKey.Hash(netip.AddrPortFrom(src.Addr(), 0), netip.AddrPortFrom(dst.Addr(), 0))
				}
				frames = append(frames, ipFrame(src, dst, proto, tag...))
				want[string(frames[i])] = hash
			}
			rig := openWire(t, &testWire{open: true}, sim.Config{}, driver.Config{Queues: 16, RingSize: 2048, RSS: driver.RSS{Key: &driver.MicrosoftKey, Fields: c.fields, Table: table}})
			require.NoError(t, rig.port.Start())
			for _, f := range rig.through(frames) {
				hash, ok := want[string(f.data)]
				require.True(t, ok)
				require.Equal(t, hash, f.hash)
				queue := 0
				if f.info&ring.HasHash != 0 {
					queue = table[hash%128]
				}
				require.Equal(t, queue, f.queue)
				require.Equal(t, hash != 0, f.info&ring.HasHash != 0)
			}
			rig.balance()
		})
	}
}

// Frames that the chip cannot hash come to queue 0.
func TestModelQueue0GetsWhatHasNoHash(t *testing.T) {
	src, dst := netip.MustParseAddrPort("10.1.2.3:1000"), netip.MustParseAddrPort("10.3.2.1:80")
	qinq := ipFrame(src, dst, protoTCP, 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2)
	mpls := ipFrame(src, dst, protoTCP)
	mpls[12], mpls[13] = 0x88, 0x47
	pppoe := ipFrame(src, dst, protoTCP)
	pppoe[12], pppoe[13] = 0x88, 0x64
	table := make([]int, driver.RSSTableSize)
	for i := range table {
		table[i] = 1
	}
	w := &testWire{frames: [][]byte{qinq, mpls, pppoe, ipFrame(src, dst, protoTCP)}}
	r := openWire(t, w, sim.Config{}, driver.Config{Queues: 2, RingSize: 64, RSS: driver.RSS{Table: table}})
	require.NoError(t, r.port.Start())
	seen := [2]int{}
	for _, f := range r.receive() {
		seen[f.queue]++
	}
	require.Equal(t, [2]int{3, 1}, seen)
	r.balance()
}

// randomFrames returns UDP frames of random flows.
func randomFrames(n int) (frames [][]byte) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range n {
		src, dst := randomFlow(rnd)
		frames = append(frames, ipFrame(src, dst, protoUDP))
	}
	return frames
}

// whileTraffic passes frames of random flows until change has been called 12 times. It
// returns the frames received and how many were sent.
func (r *rig) whileTraffic(change func(n int) error) (got []frame, sent int) {
	r.t.Helper()
	frames := randomFrames(2000)
	done := make(chan error, 1)
	go func() {
		for n := range 12 {
			if err := change(n); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		got = append(got, r.through(frames)...)
		sent += len(frames)
		select {
		case err := <-done:
			require.NoError(r.t, err)
			return got, sent
		default:
		}
	}
}

// Key, table and hashed fields change while frames arrive; each is received once.
func TestModelRSSChangesWithoutLoss(t *testing.T) {
	r := openWire(t, &testWire{open: true}, sim.Config{}, driver.Config{Queues: 4, RingSize: 2048})
	require.NoError(t, r.port.Start())
	got, sent := r.whileTraffic(func(n int) error {
		rss := driver.RSS{Key: &driver.MicrosoftKey, Table: make([]int, driver.RSSTableSize)}
		for i := range rss.Table {
			rss.Table[i] = (i + n) % 4
		}
		if n%2 == 0 {
			rss = driver.RSS{Fields: driver.HashIPv4 | driver.HashIPv6}
		}
		return r.port.SetRSS(rss)
	})
	require.Equal(t, sent, len(got))
	seen := [4]int{}
	for _, f := range got {
		seen[f.queue]++
	}
	s := r.balance()
	require.Zero(t, s.Lost())
	for q, n := range seen {
		require.EqualValues(t, n, s.Queues[q].Received)
		require.NotZero(t, n)
	}
}

// With more queues than the chip has counters, the sums are still exact.
func TestModel64Queues(t *testing.T) {
	r := open(t, "gen,size=60,flows=1000,count=2000,backpressure", driver.Config{Queues: 64, RingSize: 256, MaxFrame: 1514})
	require.NoError(t, r.port.Start())
	seen := map[int]int{}
	require.Equal(t, 2000, r.drain(func(q int, _ *ring.Frame) { seen[q]++ }))
	require.Len(t, seen, driver.MaxRSSQueues)
	s := r.balance()
	require.Len(t, s.Queues, 64)
	require.EqualValues(t, seen[3], s.Queues[3].Received)
}
