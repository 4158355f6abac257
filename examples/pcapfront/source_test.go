package pcapfront

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/nettest"

	"github.com/ixcap/ixcap"
)

// source is a kind of port.
type source struct {
	name string
	// open opens a port that captures packets, for a program.
	open func(t *testing.T, p *program, packets []packet) *live
}

var sources = []source{{"model", model(1)}, {"queues", model(2)}, {"packet", veth("packet:")}, {"xdp", veth("xdp:")}}

// model returns a function that opens the software 82599 with packets on its wire, at the spacing of their stamps.
// The wire does not end: a last packet comes late, and no capture here waits for it.
func model(queues int) func(*testing.T, *program, []packet) *live {
	return func(t *testing.T, p *program, packets []packet) *live {
		t.Helper()
		last := packets[len(packets)-1]
		last.stamp = last.stamp.Add(time.Hour)
		file := filepath.Join(t.TempDir(), "wire.pcap")
		writePcap(t, file, append(packets[:len(packets):len(packets)], last), false)
		name := "port"
		if p.kernel {
			name = "lo"
		}
		return open(t, p, name, fmt.Sprintf("sim:pcap=%s,rate=recorded,backpressure", file), ixcap.Queues(queues))
	}
}

// veth returns a function that opens one end of a veth pair, in a network namespace of the
// test's own. The other end sends.
func veth(scheme string) func(*testing.T, *program, []packet) *live {
	return func(t *testing.T, p *program, packets []packet) *live {
		t.Helper()
		pair(t)
		l := open(t, p, "ixb", scheme+"ixb")
		l.send = func() { sendFrames(t, "ixa", packets) }
		return l
	}
}

// pair makes a namespace with the veth pair ixa, ixb, in which XDP programs can be loaded.
func pair(t *testing.T) {
	t.Helper()
	nettest.Need(t, unix.CAP_BPF)
	nettest.Pair(t, nettest.Veth{Queues: 1})
	nettest.Up(t, "lo")
}

// sendFrames sends packets through an interface, about 10,000 a second.
func sendFrames(t *testing.T, name string, packets []packet) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}))
	for i, p := range packets {
		_, err := unix.Write(fd, p.data)
		require.NoError(t, err)
		if i%20 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
}
