package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TCP streams over a veth are super-frames with partial checksums. The wire must
// deliver what a cable carries.
func TestPacketWireDeliversStreamsAsFrames(t *testing.T) {
	for _, c := range []struct {
		name, network, address string
		tag                    bool
	}{
		{"IPv4", "tcp4", "192.0.2.2:5000", false},
		{"IPv6", "tcp6", "[2001:db8::2]:5000", false},
		{"VLAN", "tcp4", "198.51.100.2:5000", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := twoHosts(t)
			if c.tag && !b.vlan {
				t.Skip("this kernel has no 802.1Q interfaces: build it with CONFIG_VLAN_8021Q")
			}
			w := b.wire()
			var l net.Listener
			b.do(func() (err error) {
				l, err = net.Listen(c.network, c.address)
				return err
			})
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					io.Copy(io.Discard, conn)
					conn.Close()
				}
			}()
			content := make([]byte, 3<<20)
			for i := range content {
				content[i] = byte(i * 7 >> 3)
			}
			// The sender is limited to 256 KiB before the wire's reader, which decodes
			// every frame: a full-speed stream overflows the interface's ring, and TCP
			// does not retransmit what its receiver got.
			var read atomic.Int64
			sent := make(chan error, 1)
			go a.do(func() error {
				conn, err := net.Dial(c.network, c.address)
				if err == nil {
					for at := 0; err == nil && at < len(content); {
						if int64(at)-read.Load() >= 256<<10 && t.Context().Err() == nil {
							time.Sleep(time.Millisecond)
							continue
						}
						var n int
						n, err = conn.Write(content[at:min(at+64<<10, len(content))])
						at += n
					}
					err = errors.Join(err, conn.Close())
				}
				sent <- err
				return err
			})

			var stream []byte
			var start uint32
			seen, ended, segmented := 0, false, 0
			collect(t, w, func(frames [][]byte) bool {
				for ; seen < len(frames); seen++ {
					frame := frames[seen]
					p := checked(t, frame)
					tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
					if !ok {
						continue
					}
					require.LessOrEqual(t, len(frame), 1514+4)
					vlan, tagged := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
					require.Equal(t, c.tag, tagged)
					if tagged {
						require.EqualValues(t, 5, vlan.VLANIdentifier)
					}
					if tcp.SYN {
						start = tcp.Seq + 1
					}
					if off := int(tcp.Seq - start); off == len(stream) { // else retransmitted
						stream = append(stream, tcp.Payload...)
						read.Store(int64(len(stream)))
					}
					if len(tcp.Payload) > 0 && !tcp.PSH {
						segmented++
					}
					ended = ended || tcp.FIN
				}
				return ended && len(stream) >= len(content)
			})
			require.NoError(t, <-sent)
			require.True(t, bytes.Equal(content, stream), "the stream is complete")
			require.Greater(t, segmented, 100, "segments before the last carry no PSH")
			require.Zero(t, w.Dropped())
		})
	}
}

func TestPacketWireCompletesChecksumsAndKeepsTags(t *testing.T) {
	a, b := twoHosts(t)
	w := b.wire()
	want := 2
	if b.vlan {
		want = 3
	}
	a.do(func() error {
		for _, to := range []string{"192.0.2.2:9", "[2001:db8::2]:9", "198.51.100.2:9"}[:want] {
			conn, err := net.ListenPacket("udp", ":0") // not connected: no refusals come back
			if err != nil {
				return err
			}
			target, err := net.ResolveUDPAddr("udp", to)
			if err != nil {
				return err
			}
			for _, n := range []int{1, 100, 1401, 4000} {
				if _, err := conn.WriteTo(make([]byte, n), target); err != nil {
					return err
				}
			}
			conn.Close()
		}
		return nil
	})
	count := map[string]int{}
	seen := 0
	collect(t, w, func(frames [][]byte) bool {
		for ; seen < len(frames); seen++ {
			require.LessOrEqual(t, len(frames[seen]), 1518)
			p := gopacket.NewPacket(frames[seen], layers.LayerTypeEthernet, gopacket.Default)
			if udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && udp.DstPort == 9 {
				if udp.Length < 1410 { // the others are fragments
					checked(t, frames[seen])
				}
				key := p.NetworkLayer().NetworkFlow().Dst().String()
				if p.Layer(layers.LayerTypeDot1Q) != nil {
					key += " tagged"
				}
				if udp.Length < 1410 {
					count[key]++
				}
			}
		}
		return len(count) == want && count["192.0.2.2"] == 3 && count["2001:db8::2"] == 3 && (want < 3 || count["198.51.100.2 tagged"] == 3)
	})
}

func TestPacketWireDoesNotReceiveWhatItSends(t *testing.T) {
	a, b := twoHosts(t)
	wa, wb := a.wire(), b.wire()
	g, err := NewGenerator([]Option{{"size", "60-1514"}, {"vlan", "9"}})
	require.NoError(t, err)
	const frames = 300
	for seq := range uint64(frames) {
		f := g.Append(nil, seq)
		if len(f) > 1514 {
			f = f[:1514]
		}
		require.Eventually(t, func() bool { return !errors.Is(wa.Send(f), ErrBusy) }, 30*time.Second, time.Millisecond)
	}
	next, seen := uint64(0), 0
	collect(t, wb, func(got [][]byte) bool {
		for ; seen < len(got); seen++ {
			if seq, err := Sequence(got[seen]); err == nil {
				require.Equal(t, next, seq)
				require.Equal(t, g.Append(nil, seq), got[seen])
				next++
			}
		}
		return next == frames
	})
	buffer := make([]Frame, 64)
	for range 20 {
		n, err := wa.Receive(buffer, plenty)
		require.NoError(t, err)
		for _, f := range buffer[:n] {
			_, err := Sequence(f.Data)
			require.ErrorIs(t, err, errNotGenerated, "a port does not receive what it sends")
		}
	}
	require.NoError(t, wa.Send(make([]byte, 5000)), "too long for the cable: lost")
	require.EqualValues(t, 1, wa.Unsent())
}

func TestPacketWireWithBackpressureLeavesFramesInTheSocket(t *testing.T) {
	a, b := twoHosts(t)
	wa, wb := a.wire(), b.wire(Option{"backpressure", ""})
	g, err := NewGenerator(nil)
	require.NoError(t, err)
	for seq := range uint64(10) {
		require.NoError(t, wa.Send(g.Append(nil, seq)))
	}
	frames := make([]Frame, 16)
	next := uint64(0)
	for start := time.Now(); next < 10; {
		require.Less(t, time.Since(start), 60*time.Second)
		n, err := wb.Receive(frames, 59)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = wb.Receive(frames, 150)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 2)
		for _, f := range frames[:n] {
			if seq, err := Sequence(f.Data); err == nil {
				require.Equal(t, next, seq)
				next++
			}
		}
	}
}

func TestPacketWireCountsWhatTheKernelDrops(t *testing.T) {
	a, b := twoHosts(t)
	wa, wb := a.wire(), b.wire()
	require.NoError(t, unix.SetsockoptInt(wb.in, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8192))
	g, err := NewGenerator(nil)
	require.NoError(t, err)
	const sent = 500
	for seq := range uint64(sent) {
		require.NoError(t, wa.Send(g.Append(nil, seq)))
	}
	require.Eventually(t, func() bool { return wb.Dropped() > 0 }, 30*time.Second, time.Millisecond)
	received := uint64(0)
	frames := make([]Frame, 64)
	for {
		n, err := wb.Receive(frames, plenty)
		require.NoError(t, err)
		if n == 0 {
			break
		}
		for _, f := range frames[:n] {
			if _, err := Sequence(f.Data); err == nil {
				received++
			}
		}
	}
	require.GreaterOrEqual(t, received+wb.Dropped(), uint64(sent))
	before := wb.Dropped()
	require.Equal(t, before, wb.Dropped(), "reading does not reset")
	require.NoError(t, wb.Close())
	require.GreaterOrEqual(t, wb.Dropped(), before, "the count is valid after Close")
}

func TestPacketWireFollowsTheCarrier(t *testing.T) {
	a, b := twoHosts(t)
	w := b.wire()
	link := func(f func(netlink.Link) error) func() error {
		return func() error {
			l, err := netlink.LinkByName("cable")
			if err != nil {
				return err
			}
			return f(l)
		}
	}
	a.do(link(netlink.LinkSetDown))
	require.Eventually(t, func() bool { return !w.Up() }, 30*time.Second, time.Millisecond)
	require.NoError(t, w.Send(make([]byte, 60)), "lost")
	a.do(link(netlink.LinkSetUp))
	require.Eventually(t, w.Up, 30*time.Second, time.Millisecond)

	b.do(link(netlink.LinkSetDown))
	require.Eventually(t, func() bool { return !w.Up() }, 30*time.Second, time.Millisecond)
	frames := make([]Frame, 64)
	_, err := w.Receive(frames, plenty)
	require.NoError(t, err, "link down is no error")
	b.do(link(netlink.LinkSetUp))
	require.Eventually(t, w.Up, 30*time.Second, time.Millisecond)

	a.do(link(netlink.LinkDel))
	require.Eventually(t, func() bool { return w.gone.Load() }, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { _, err = w.Receive(frames, plenty); return err != nil }, 30*time.Second, time.Millisecond)
	require.EqualError(t, err, "receive on cable: the interface has been removed")
	require.False(t, w.Up())
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	_, err = w.Receive(frames, plenty)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, w.Send(make([]byte, 60)), os.ErrClosed)
}

func TestPacketWireOpenErrors(t *testing.T) {
	_, err := Parse([]Option{{"packet", "nonesuch0"}})
	require.EqualError(t, err, "packet=nonesuch0: no such network interface: `ip link` lists them")
	if os.Geteuid() == 0 {
		h := newHost(t)
		h.do(func() error {
			// A thread without CAP_NET_RAW; it ends with this goroutine.
			none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capset(&none, &data[0]); err != nil {
				return err
			}
			_, err = Parse([]Option{{"packet", "lo"}})
			return nil
		})
	} else {
		_, err = Parse([]Option{{"packet", "lo"}})
	}
	require.ErrorContains(t, err, "packet=lo: open packet socket: operation not permitted: packet sockets need CAP_NET_RAW: run as root, or setcap cap_net_raw+ep PROGRAM")
}

func TestPacketReceiveDoesNotAllocate(t *testing.T) {
	a, b := twoHosts(t)
	wa, wb := a.wire(), b.wire()
	g, err := NewGenerator(nil)
	require.NoError(t, err)
	f := g.Append(nil, 0)
	frames := make([]Frame, 16)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		_ = wa.Send(f)
		if _, err := wb.Receive(frames, plenty); err != nil {
			panic(err)
		}
	}))
}

func TestPacketStampsAreKeptInOrder(t *testing.T) {
	p := &packet{}
	var got []int64
	for _, at := range []int64{5e9, 5e9 + 20, 5e9 + 10, 5e9 + 30, 3e9, 3e9 + 1} {
		got = append(got, p.inOrder(at))
	}
	require.Equal(t, []int64{5e9, 5e9 + 20, 5e9 + 20, 5e9 + 30, 3e9, 3e9 + 1}, got)
}
