package xdp

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/nettest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// pair makes a namespace with the veth pair ixa, ixb, in which XDP programs can be loaded.
func pair(t *testing.T, mtu, queues int) {
	t.Helper()
	nettest.Need(t, unix.CAP_BPF)
	nettest.Pair(t, nettest.Veth{MTU: mtu, Queues: queues})
}

// sender returns a function that sends a frame through ixa.
func sender(t *testing.T) func(frame []byte) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: nettest.Link(t, "ixa").Attrs().Index}))
	return func(frame []byte) {
		_, err := unix.Write(fd, frame)
		require.NoError(t, err)
	}
}

// numbered is a frame of so many bytes that begins with tags and carries a number.
func numbered(n, size int, tags ...uint16) []byte {
	f := make([]byte, size)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02")
	at := 12
	for i, tpid := range tags {
		binary.BigEndian.PutUint16(f[at:], tpid)
		binary.BigEndian.PutUint16(f[at+2:], uint16(5+i))
		at += 4
	}
	binary.BigEndian.PutUint16(f[at:], 0x88b5)
	binary.BigEndian.PutUint32(f[at+2:], uint32(n))
	for i := at + 6; i < size; i++ {
		f[i] = byte(i * n)
	}
	return f
}

// tagged is one of the four kinds of frames of a test, by its number.
func tagged(n, size int) []byte {
	switch n % 4 {
	case 1:
		return numbered(n, size+4, ether.TypeVLAN)
	case 2:
		return numbered(n, size+8, ether.TypeQinQ, ether.TypeVLAN)
	}
	return numbered(n, size)
}

// udp and tcp are frames over IPv4 of so many bytes.
func udp(source, destination uint16, size int) []byte { return ipv4(17, source, destination, size) }
func tcp(source, destination uint16, size int) []byte { return ipv4(6, source, destination, size) }

func ipv4(protocol byte, source, destination uint16, size int) []byte {
	f := make([]byte, size)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\xc0\x00\x02\x01\xc0\x00\x02\x02")
	binary.BigEndian.PutUint16(f[16:], uint16(size-14))
	f[23] = protocol
	binary.BigEndian.PutUint16(f[34:], source)
	binary.BigEndian.PutUint16(f[36:], destination)
	if protocol == 6 {
		f[46] = 0x50 // header of 20 bytes
	} else {
		binary.BigEndian.PutUint16(f[38:], uint16(size-34))
	}
	return f
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// pushTag makes the kernel add a VLAN tag to the frames that an interface sends, beside
// the frame. The function that it returns sets the tag of the next ones.
func pushTag(t *testing.T, name string) func(tpid, tci uint16) {
	tag, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	require.NoError(t, err)
	t.Cleanup(func() { tag.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R4, tag.FD(), 0),
		asm.LoadMem(asm.R2, asm.R4, 0, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.LoadMem(asm.R3, asm.R4, 2, asm.Half),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R0, -1), // TCX_NEXT
		asm.Return(),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	attached, err := link.AttachTCX(link.TCXOptions{Interface: nettest.Link(t, name).Attrs().Index, Program: program, Attach: ebpf.AttachTCXEgress})
	require.NoError(t, err)
	t.Cleanup(func() { attached.Close() })
	return func(tpid, tci uint16) { require.NoError(t, tag.Put(uint32(0), uint32(tci)<<16|uint32(tpid))) }
}

// run is a capture of a port through the engine, with a listener on each queue.
type run struct {
	t         *testing.T
	port      *Port
	engine    *capture.Engine
	listeners []*stream.Listener
	began     time.Time
}

func begin(t *testing.T, name string) *run {
	p, err := Open(name, Config{Ring: 1024})
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{Buffer: 32 << 20})
	require.NoError(t, err)
	r := &run{t: t, port: p, engine: e, began: time.Now()}
	for q := range p.Sources() {
		l, err := e.Stream(q).Listen("test", stream.Options{})
		require.NoError(t, err)
		r.listeners = append(r.listeners, l)
	}
	require.NoError(t, e.Start())
	return r
}

// await waits until so many frames have been taken out of the port's rings. Of a burst the
// kernel drops what its queues before XDP have no room for on a busy machine (256 frames of
// a veth, 1000 of a processor), and no counter of the port has it; what a ring has no room
// for is missed.
func (r *run) await(frames int) {
	require.Eventually(r.t, func() bool {
		l, err := r.engine.Ledger()
		var polled uint64
		for _, q := range l.Queues {
			polled += q.Polled
		}
		return err == nil && polled >= uint64(frames)
	}, testtime.Deadline, time.Millisecond)
}

// stop ends the capture and returns the frames of each queue and the ledger, which
// balances.
func (r *run) stop() (frames [][][]byte, l capture.Ledger) {
	t := r.t
	require.NoError(t, r.engine.Stop())
	for _, l := range r.listeners {
		var all [][]byte
		last := r.began.Add(-time.Millisecond) // the kernel's clock for programs is a little off
		for packet := range l.Packets(t.Context()) {
			require.False(t, packet.Time().Before(last), "%v after %v", packet.Time(), last)
			last = packet.Time()
			all = append(all, append([]byte(nil), packet.Data...))
		}
		require.NoError(t, l.Err())
		require.True(t, last.Before(time.Now()))
		frames = append(frames, all)
		require.NoError(t, l.Close())
	}
	l, err := r.engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced(), "%+v", l)
	require.NoError(t, r.engine.Close())
	return frames, l
}
