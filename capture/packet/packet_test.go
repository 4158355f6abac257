package packet

import (
	"cmp"
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/nettest"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// FuzzParseSpec checks that what ParseSpec accepts is within the limits.
func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"packet:eth0", "packet:eth0,sockets=4,fanout=cpu,blocks=8,timeout=2,outgoing,offloads=off,promisc=off", "packet:,", "packet:eth0,sockets=0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := ParseSpec(name, Config{})
		if err != nil {
			return
		}
		require.NotEmpty(t, s.Interface)
		require.Less(t, len(s.Interface), unix.IFNAMSIZ)
		require.True(t, s.Sockets >= 1 && s.Sockets <= MaxSockets && s.Blocks >= 2 && s.Blocks <= maxBlocks && s.Timeout >= 1 && s.Timeout <= maxTimeout)
	})
}

// pair makes a namespace with the veth pair ixa, ixb.
func pair(t *testing.T, mtu int) {
	t.Helper()
	nettest.Pair(t, nettest.Veth{MTU: mtu})
}

// sender returns a function that sends a frame through an interface.
func sender(t *testing.T, name string) func(frame []byte) {
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}))
	return func(frame []byte) {
		_, err := unix.Write(fd, frame)
		require.NoError(t, err)
	}
}

// numbered is a frame of so many bytes that begins with tags and carries a number.
func numbered(n, size int, tags ...uint16) []byte {
	f := make([]byte, size)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02")
	at := addresses
	for i, tpid := range tags {
		binary.BigEndian.PutUint16(f[at:], tpid)
		binary.BigEndian.PutUint16(f[at+2:], uint16(5+i))
		at += tagBytes
	}
	binary.BigEndian.PutUint16(f[at:], 0x88b5)
	binary.BigEndian.PutUint32(f[at+2:], uint32(n))
	return f
}

// open opens a port and makes an engine of it.
func open(t *testing.T, name string, cfg capture.Config) (*Port, *capture.Engine) {
	p, err := Open(name, Config{})
	require.NoError(t, err)
	cfg.Buffer = cmp.Or(cfg.Buffer, 64<<20)
	e, err := capture.New(p, cfg)
	require.NoError(t, err)
	return p, e
}

// awaitFrames waits until so many frames have reached the port. Of a burst the kernel drops what
// a processor's queue has no room for on a busy machine (1000 frames), and no counter of
// the port has it.
func awaitFrames(t *testing.T, p *Port, frames int) {
	await(t, "the frames reach the port", func() bool {
		a, err := p.Account()
		return err == nil && a.Wire >= uint64(frames)
	})
}

// balanced stops an engine and returns its ledger, which balances.
func balanced(t *testing.T, e *capture.Engine) capture.Ledger {
	require.NoError(t, e.Stop())
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	return l
}

func count(all []capture.Count, cause string) uint64 {
	for _, c := range all {
		if strings.Contains(c.Cause, cause) {
			return c.Frames
		}
	}
	return 0
}

func TestEveryFrameIsStoredAsSent(t *testing.T) {
	pair(t, 9000)
	p, e := open(t, "packet:ixb,blocks=64,timeout=1000", capture.Config{})
	l, err := e.Stream(0).Listen("test", stream.Options{})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	send := sender(t, "ixa")
	var sent [][]byte
	for i := range 3000 {
		frame := numbered(i, 60+i%1400)
		switch i % 5 {
		case 1:
			frame = numbered(i, 64, typeVLAN)
		case 2:
			frame = numbered(i, 68, 0x88a8, typeVLAN)
		case 3:
			frame = numbered(i, 9014)
		}
		send(frame)
		sent = append(sent, frame)
		if i%250 == 0 {
			awaitFrames(t, p, i+1)
		}
	}
	ledger := balanced(t, e)
	n := 0
	for packet := range l.Packets(t.Context()) {
		require.Equal(t, sent[n], packet.Data, "frame %d", n)
		require.WithinDuration(t, time.Now(), packet.Time(), time.Minute)
		n++
	}
	require.Equal(t, len(sent), n)
	require.EqualValues(t, len(sent), ledger.Account.Wire)
	require.Equal(t, "kernel, at reception", ledger.Clock.StampedBy)
	require.NoError(t, l.Close())
	require.NoError(t, e.Close())
}

// The sockets of a port share the frames by flow, in the order of each flow.
func TestSocketsShareTheFramesByFlow(t *testing.T) {
	const sockets, flows, frames = 4, 64, 8000
	pair(t, 1500)
	p, e := open(t, "packet:ixb,sockets=4,timeout=100", capture.Config{Buffer: 16 << 20})
	var listeners []*stream.Listener
	for q := range sockets {
		l, err := e.Stream(q).Listen("test", stream.Options{})
		require.NoError(t, err)
		listeners = append(listeners, l)
	}
	require.NoError(t, e.Start())
	send := sender(t, "ixa")
	for i := range frames {
		send(datagram(i%flows, i/flows, i%2 == 1))
		if i%250 == 0 {
			awaitFrames(t, p, i+1)
		}
	}
	ledger := balanced(t, e)
	require.EqualValues(t, frames, ledger.Account.Wire)
	require.EqualValues(t, frames, ledger.Frames())
	of, next := map[int]int{}, map[int]int{}
	used := 0
	for q, l := range listeners {
		some := 0
		for packet := range l.Packets(t.Context()) {
			flow, n := int(binary.BigEndian.Uint16(packet.Data[42:])), int(binary.BigEndian.Uint32(packet.Data[44:]))
			if _, known := of[flow]; !known {
				of[flow] = q
			}
			require.Equal(t, q, of[flow], "flow %d", flow)
			require.Equal(t, next[flow], n, "flow %d", flow)
			next[flow]++
			some++
		}
		if some > 0 {
			used++
		}
		require.NoError(t, l.Close())
	}
	require.Greater(t, used, 1)
	require.NoError(t, e.Close())
}

// datagram is frame n of a flow; back: from the other end.
func datagram(flow, n int, back bool) []byte {
	f := make([]byte, 64)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x32\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	ports := []uint16{uint16(1000 + flow), 9}
	if back {
		f[29], f[33] = 2, 1
		ports[0], ports[1] = ports[1], ports[0]
	}
	binary.BigEndian.PutUint16(f[34:], ports[0])
	binary.BigEndian.PutUint16(f[36:], ports[1])
	binary.BigEndian.PutUint16(f[38:], 30)
	binary.BigEndian.PutUint16(f[42:], uint16(flow))
	binary.BigEndian.PutUint32(f[44:], uint32(n))
	return f
}

// Frames that find the ring full are lost, and counted.
func TestLossesAreCounted(t *testing.T) {
	const frames = 20000
	pair(t, 1500)
	p, e := open(t, "packet:ixb,blocks=2", capture.Config{Buffer: 1 << 20})
	l, err := e.Stream(0).Listen("test", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	send := sender(t, "ixa")
	for i := range frames {
		send(numbered(i, 1000))
		if i%250 == 0 {
			awaitFrames(t, p, i+1)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, last := 0, -1
	done := make(chan struct{})
	go func() {
		defer close(done)
		for packet := range l.Packets(ctx) {
			n := int(binary.BigEndian.Uint32(packet.Data[addresses+2:]))
			if n <= last {
				t.Errorf("frame %d after %d", n, last)
			}
			read, last = read+1, n
		}
	}()
	ledger := balanced(t, e)
	<-done
	require.EqualValues(t, frames, ledger.Account.Wire)
	require.EqualValues(t, read, ledger.Frames())
	require.NotZero(t, count(ledger.Account.Missed, "tp_drops"))
	require.EqualValues(t, frames-read, count(ledger.Account.Missed, "tp_drops"))
	require.NoError(t, l.Close())
	require.NoError(t, e.Close())
}

// A capture survives an interface that goes down, and ends when it is removed.
func TestTheInterfaceGoesDownAndIsRemoved(t *testing.T) {
	pair(t, 1500)
	_, e := open(t, "packet:ixb,blocks=2", capture.Config{Buffer: 1 << 20})
	require.NoError(t, e.Start())
	send := sender(t, "ixa")
	b, err := netlink.LinkByName("ixb")
	require.NoError(t, err)
	send(numbered(0, 60))
	await(t, "the first frame", func() bool { return e.Counters().Frames == 1 })
	require.NoError(t, netlink.LinkSetDown(b))
	await(t, "the loss of the link", func() bool { l, err := e.Ledger(); return err == nil && l.Account.LinkDowns == 1 })
	require.NoError(t, netlink.LinkSetUp(b))
	await(t, "the other end's carrier", func() bool {
		a, err := netlink.LinkByName("ixa")
		return err == nil && a.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	})
	send(numbered(1, 60))
	await(t, "the second frame", func() bool { return e.Counters().Frames == 2 })
	require.NoError(t, netlink.LinkDel(b))
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	const gone = "interface ixb has been removed"
	require.ErrorContains(t, e.Wait(ctx), gone)
	require.EqualValues(t, 2, balanced(t, e).Account.Wire)
	require.NoError(t, e.Close())
}

// await waits until something is so. It stays on its thread, which has the namespace.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testtime.Deadline); !is(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(end), what)
	}
}

func TestWhatEndsASleep(t *testing.T) {
	pair(t, 1500)
	p, err := Open("packet:ixb", Config{})
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Start())
	s, send := p.all[0], sender(t, "ixa")
	sleep := func() time.Duration {
		began := time.Now()
		require.True(t, s.Sleep(time.Minute))
		return time.Since(began)
	}
	for n := range 50 {
		s.Wake() // before
		require.Less(t, sleep(), time.Minute/4)
		go func() {
			time.Sleep(time.Millisecond)
			if n%2 == 0 {
				s.Wake()
			} else {
				send(numbered(n, 60))
			}
		}()
		require.Less(t, sleep(), time.Minute/4)
		frames := make([]ring.Frame, 8)
		require.Equal(t, n%2, s.Poll(frames))
		s.Release()
	}
	began := time.Now()
	require.True(t, s.Sleep(20*time.Millisecond), "a shorter limit than before")
	require.GreaterOrEqual(t, time.Since(began), 10*time.Millisecond)
	require.Less(t, time.Since(began), time.Minute/4)
}

func TestBlocksAreLargeWhereTheyMayFillUp(t *testing.T) {
	for name, want := range map[string]int{
		"packet:a": smallBlock, "packet:a,timeout=49": smallBlock, "packet:a,timeout=50": largeBlock,
		"packet:a,timeout=100,blocks=16": smallBlock, "packet:a,timeout=100,blocks=33": smallBlock, "packet:a,timeout=100,blocks=36": largeBlock,
	} {
		cfg, err := ParseSpec(name, Config{})
		require.NoError(t, err)
		require.Equal(t, want, cfg.blockSize(), name)
	}
}

func TestPollDoesNotAllocate(t *testing.T) {
	const frames = 512
	pair(t, 1500)
	b, err := netlink.LinkByName("ixb")
	require.NoError(t, err)
	cfg, err := ParseSpec("packet:ixb,blocks=64", Config{})
	require.NoError(t, err)
	s, err := newSource(cfg, b.Attrs().Index) // no port: it reads the link's state now and then
	require.NoError(t, err)
	require.NoError(t, s.bind(b.Attrs().Index))
	require.NoError(t, unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	send := sender(t, "ixa")
	batch := make([]ring.Frame, 64)
	n := 0
	require.Zero(t, testing.AllocsPerRun(8, func() {
		for range frames {
			send(small)
		}
		for end := n + frames; n < end; {
			got := s.Poll(batch)
			n += got
			s.Release()
			if got == 0 {
				s.Sleep(time.Second)
			}
		}
	}))
	require.NoError(t, s.close())
}

// A frame that the device has not stamped bears the stamp before, and is counted.
func TestStampsOfTheDevice(t *testing.T) {
	const at = 1_800_000_000
	s := source{device: true}
	require.EqualValues(t, at, s.stamp(at, 7, unix.TP_STATUS_TS_SOFTWARE).Sec(), "before the first of the device")
	require.EqualValues(t, at+37, s.stamp(at+37, 5, unix.TP_STATUS_TS_RAW_HARDWARE).Sec())
	without := s.stamp(at, 9, unix.TP_STATUS_TS_SOFTWARE)
	require.EqualValues(t, at+37, without.Sec())
	require.EqualValues(t, 5, without.Nsec())
	earlier := s.stamp(at+37, 4, unix.TP_STATUS_TS_RAW_HARDWARE)
	require.Equal(t, without, earlier, "stamps do not go back")
	require.EqualValues(t, at+36, s.stamp(at+36, 0, unix.TP_STATUS_TS_RAW_HARDWARE).Sec(), "the clock was set")
	require.Equal(t, "device, by its own clock; 2 frames without have the stamp before", s.StampedBy())
}

var small = make([]byte, 60)

func TestAnErrorNamesTheMissingRight(t *testing.T) {
	pair(t, 1500)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_NET_RAW
	require.NoError(t, unix.Capset(&header, &data[0])) // of this thread, which ends with the test
	_, err := Open("packet:ixb", Config{})
	require.ErrorContains(t, err, "open device packet:ixb: open packet socket: operation not permitted: CAP_NET_RAW missing. Run as root")
}

func TestOpenErrors(t *testing.T) {
	pair(t, 1500)
	for name, want := range map[string]string{
		"packet:nosuch":            "open device packet:nosuch: interface \"nosuch\": no such interface in this network namespace. `ip link` lists them",
		"packet:ixb,sockets=x":     `device "packet:ixb,sockets=x": sockets=x: choose 1 to 64`,
		"packet:ixb,blocks=1":      "the kernel needs one block while another is read",
		"packet:ixb,speed=9":       "speed: unknown. Choose sockets=N",
		"packet:ixb,outgoing=no":   "outgoing has no value",
		"packet:ixb,stamps=device": "the device does not stamp every frame. `ethtool -T ixb` shows",
		"packet:":                  "no interface name after packet:",
	} {
		_, err := Open(name, Config{})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}
