package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// FuzzSuperFrame splits any bytes: the segments have the headers' length each and
// together the payload.
func FuzzSuperFrame(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			b, _ := super(v6, udp, 3000, 0x18)
			f.Add(b, 1448)
		}
	}
	f.Add(make([]byte, 14), 1)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if len(b) < minHeader || size < 0 || size > 1<<16-1 {
			return
		}
		s, ok := newSuperFrame(b, size)
		if !ok {
			return
		}
		payload := bytes.Clone(s.payload)
		room, rest := make([]byte, headerRoom), make([][]byte, 1)
		var got []byte
		for i := 0; len(s.payload) > 0; i++ {
			require.Less(t, i, len(payload), "it ends")
			var frame ring.Frame
			s.next(&frame, room, rest)
			require.Len(t, frame.Data, len(s.headers))
			require.EqualValues(t, len(frame.Data)+len(frame.Rest[0]), frame.Len)
			got = append(got, frame.Rest[0]...)
		}
		require.Equal(t, payload, got)
	})
}

// super is a super-frame with so many bytes of payload as a local sender makes it, with
// its struct virtio_net_hdr.
func super(v6, udp bool, payload int, flags byte) (frame, vnet []byte) {
	b := make([]byte, 0, 100+payload)
	b = append(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"...)
	l4 := tcpBytes + 12
	if udp {
		l4 = udpBytes
	}
	proto := byte(protoTCP)
	if udp {
		proto = protoUDP
	}
	var addresses []byte
	if v6 {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, proto, 64)
		binary.BigEndian.PutUint16(b[18:], uint16(l4+payload))
		addresses = append([]byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"...)
	} else {
		b = append(b, 0x08, 0x00, 0x45, 0, 0, 0, 0x30, 0x39, 0x40, 0, 64, proto, 0, 0)
		binary.BigEndian.PutUint16(b[16:], uint16(ipv4Bytes+l4+payload))
		addresses = []byte{192, 0, 2, 1, 192, 0, 2, 2}
	}
	b = append(b, addresses...)
	if !v6 {
		binary.LittleEndian.PutUint16(b[24:], ^fold(sum(b[14:34], 0)))
	}
	start, field := len(b), 16
	gso, size := byte(vnetTCP4), 1448
	switch {
	case udp:
		gso, size, field = vnetUDP, 1400, 6
	case v6:
		gso, size = vnetTCP6, 1428
	}
	b = append(b, 0x04, 0x00, 0x00, 0x50) // ports
	if udp {
		b = binary.BigEndian.AppendUint16(b, uint16(l4+payload))
		b = append(b, 0, 0)
	} else {
		b = append(b, 0xff, 0xff, 0xfe, 0x00, 1, 2, 3, 4, 8<<4, flags, 0x10, 0x00, 0, 0, 0, 0)
		b = append(b, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8) // stamps
	}
	pseudo := [8]byte{3: proto}
	binary.BigEndian.PutUint32(pseudo[4:], uint32(l4+payload))
	binary.LittleEndian.PutUint16(b[start+field:], fold(sum(addresses, sum(pseudo[:], 0))))
	header := len(b)
	for i := range payload {
		b = append(b, byte(i*7+i>>8))
	}
	vnet = make([]byte, vnetHeader)
	vnet[vnetFlags] = vnetNeedsSum
	if payload > size {
		vnet[vnetGSO] = gso
		binary.NativeEndian.PutUint16(vnet[vnetSize:], uint16(size))
	}
	binary.NativeEndian.PutUint16(vnet[2:], uint16(header))
	binary.NativeEndian.PutUint16(vnet[vnetSumStart:], uint16(start))
	binary.NativeEndian.PutUint16(vnet[vnetSumField:], uint16(field))
	return b, vnet
}

// sendSuper sends super-frames of each kind through ixa, which passes them on as they are
// or, with whole false, has the kernel split them, and returns what is captured at ixb.
func sendSuper(t *testing.T, whole bool) (frames [][]byte, sent int, ledger capture.Ledger) {
	pair(t, 1500)
	a, err := netlink.LinkByName("ixa")
	require.NoError(t, err)
	if !whole {
		require.NoError(t, netlink.LinkSetGSOMaxSize(a, 1450))
		require.NoError(t, netlink.LinkSetGSOIPv4MaxSize(a, 1450))
	}
	_, e := open(t, "packet:ixb,timeout=100", capture.Config{Buffer: 16 << 20})
	l, err := e.Stream(0).Listen("test", stream.Options{})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: a.Attrs().Index}))
	for _, payload := range []int{100, 1448, 1449, 2897, 20000, 60001} {
		for kind := range 4 {
			frame, vnet := super(kind&1 != 0, kind&2 != 0, payload, 0x99) // CWR, ACK, PSH, FIN
			_, err := unix.Write(fd, append(vnet, frame...))
			require.NoError(t, err, "%d bytes, kind %d", payload, kind)
			sent++
		}
	}
	require.NoError(t, unix.Close(fd))
	ledger = balanced(t, e)
	for packet := range l.Packets(t.Context()) {
		frames = append(frames, bytes.Clone(packet.Data))
	}
	require.NoError(t, l.Close())
	require.NoError(t, e.Close())
	return frames, sent, ledger
}

// The kernel's own segmentation of the same super-frames is the reference.
func TestSuperFramesAreSplitAsTheKernelSplitsThem(t *testing.T) {
	var got, want [][]byte
	var ledger, reference capture.Ledger
	var sent int
	t.Run("super-frames", func(t *testing.T) { got, sent, ledger = sendSuper(t, true) })
	t.Run("split by the kernel", func(t *testing.T) { want, _, reference = sendSuper(t, false) })
	if len(got) == 0 {
		t.Skip("nothing to compare: the parts above say what is missing")
	}
	require.NotZero(t, ledger.Account.Split)
	require.Zero(t, reference.Account.Split)
	require.Greater(t, len(got), sent)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, fmt.Sprintf("%x", want[i]), fmt.Sprintf("%x", got[i]), "frame %d", i)
	}
	require.EqualValues(t, len(got), ledger.Account.Wire)
	require.Equal(t, reference.Account.Wire, ledger.Account.Wire)
}
