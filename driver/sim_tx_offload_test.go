package driver_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// packet makes a TCP or UDP packet with right checksums.
func packet(t *testing.T, v6, tcp bool, payload int) []byte {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	proto := layers.IPProtocolUDP
	if tcp {
		proto = layers.IPProtocolTCP
	}
	var network gopacket.NetworkLayer
	ip4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")}
	list := []gopacket.SerializableLayer{eth, ip4}
	if network = ip4; v6 {
		network, eth.EthernetType, list[1] = ip6, layers.EthernetTypeIPv6, ip6
	}
	if tcp {
		l4 := &layers.TCP{SrcPort: 1, DstPort: 2, Seq: 1000, ACK: true}
		require.NoError(t, l4.SetNetworkLayerForChecksum(network))
		list = append(list, l4)
	} else {
		l4 := &layers.UDP{SrcPort: 1, DstPort: 2}
		require.NoError(t, l4.SetNetworkLayerForChecksum(network))
		list = append(list, l4)
	}
	body := make([]byte, payload)
	for i := range body {
		body[i] = byte(i * 7)
	}
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(list, gopacket.Payload(body))...))
	return b.Bytes()
}

func offloadOf(v6, tcp bool) *driver.TxOffload {
	o := &driver.TxOffload{MACLen: 14, IPLen: 20, L4Len: 8, IPv6: v6, IPChecksum: !v6, L4Checksum: true}
	if v6 {
		o.IPLen = 40
	}
	if tcp {
		o.L4Len, o.L4 = 20, ring.L4TCP
	}
	return o
}

// postPacket fills free buffers with a packet and posts them.
func postPacket(t *testing.T, q *driver.TxQueue, p []byte, o *driver.TxOffload) {
	t.Helper()
	n := 0
	for at := 0; at < len(p); n++ {
		require.Greater(t, q.Free(), n)
		b := q.Buffer(n)
		b.Data = b.Data[:min(cap(b.Data), len(p)-at)]
		at += copy(b.Data, p[at:])
		b.More, b.Offload, b.RawCRC = at < len(p), o, false
	}
	require.Equal(t, n, q.Post(n))
}

func TestModelInsertsChecksumsAndTags(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1, HeadWriteBack: true})
	q := r.port.TxQueue(0)
	var want [][]byte
	for i := range 16 {
		v6, tcp, tagged := i&1 != 0, i&2 != 0, i&4 != 0
		right := packet(t, v6, tcp, 33+i)
		o := offloadOf(v6, tcp)
		broken := slices.Clone(right)
		require.NoError(t, o.Prepare(broken))
		if tagged {
			o.InsertVLAN, o.VLAN = true, uint16(100+i)
			tag := binary.BigEndian.AppendUint16([]byte{0x81, 0}, o.VLAN)
			right = slices.Concat(right[:12], tag, right[12:])
		}
		want = append(want, right)
		postPacket(t, q, broken, o)
	}
	require.Eventually(t, func() bool { return len(w.sentFrames()) == len(want) }, testtime.Deadline, time.Millisecond)
	require.Equal(t, want, w.sentFrames())
	require.Equal(t, q.Buffers(), q.Free())
	require.Zero(t, r.nic.Stats().Faults, r.nic.Stats().LastFault)
}

func TestModelCutsPacketsIntoSegments(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, tcp := range []bool{false, true} {
			t.Run(fmt.Sprintf("v6=%v,tcp=%v", v6, tcp), func(t *testing.T) { testSegments(t, v6, tcp) })
		}
	}
}

func testSegments(t *testing.T, v6, tcp bool) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 1})
	p := packet(t, v6, tcp, 10_000)
	o := offloadOf(v6, tcp)
	o.MSS = 1400
	require.NoError(t, o.Prepare(p))
	postPacket(t, r.port.TxQueue(0), p, o)
	require.Eventually(t, func() bool { return len(w.sentFrames()) == 8 }, testtime.Deadline, time.Millisecond)
	var payload []byte
	for _, f := range w.sentFrames() {
		decoded := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
		require.Nil(t, decoded.ErrorLayer())
		transport := decoded.TransportLayer()
		require.LessOrEqual(t, len(transport.LayerPayload()), 1400)
		payload = append(payload, transport.LayerPayload()...)
		for _, l := range decoded.Layers() {
			if c, ok := l.(interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}); ok {
				require.NoError(t, c.SetNetworkLayerForChecksum(decoded.NetworkLayer()))
			}
		}
		bad, mismatches := decoded.VerifyChecksums()
		require.NoError(t, bad)
		require.Empty(t, mismatches)
	}
	require.Equal(t, p[int(o.MACLen)+int(o.IPLen)+int(o.L4Len):], payload)
	require.Zero(t, r.nic.Stats().Faults, r.nic.Stats().LastFault)
}

// The limiter's distances are those of the rate that SetTxRate returns, on the line's own
// clock, and the other queue is not limited.
func TestModelLimitsTheRateOfAQueue(t *testing.T) {
	w := &testWire{open: true}
	r := openWire(t, w, sim.Config{}, driver.Config{RingSize: 64, TxQueues: 2})
	_, err := r.port.SetTxRate(2, 1e9)
	require.ErrorContains(t, err, "the port has 2")
	_, err = r.port.SetTxRate(0, 1e6)
	require.ErrorContains(t, err, "more than 9.76562e+06 b/s")
	_, err = r.port.SetTxRate(0, 2e10)
	require.Error(t, err)
	rate, err := r.port.SetTxRate(1, 123456789)
	require.NoError(t, err)
	require.InEpsilon(t, 123456789, rate, 1e-5)
	q := r.port.TxQueue(1)
	for i := range q.Free() {
		q.Buffer(i).Data = q.Buffer(i).Data[:100]
	}
	r.nic.RecordSent(1000)
	n := q.Post(200)
	require.Equal(t, 200, n)
	require.Eventually(t, func() bool { return len(w.sentFrames()) == n }, testtime.Deadline, time.Millisecond)
	sent, more := r.nic.Sent()
	require.Zero(t, more)
	for i := 1; i < n; i++ {
		require.InDelta(t, 104*8/rate*1e9, sent[i].At-sent[i-1].At, 1)
	}
	_, err = r.port.SetTxRate(1, 0)
	require.NoError(t, err)
}

func TestModelSendsFillersThatNoReceiverTakes(t *testing.T) {
	wa, wb := wire.NewPair()
	cfg := driver.Config{RingSize: 64, TxQueues: 1}
	from, to := openWire(t, wa, sim.Config{}, cfg), openWire(t, wb, sim.Config{}, cfg)
	require.NoError(t, to.port.Start())
	for _, r := range []*rig{from, to} {
		_, err := r.port.WaitLink(t.Context())
		require.NoError(t, err)
	}
	q, in := from.port.TxQueue(0), to.port.RxQueue(0)
	for i := range 10 {
		buf := q.Buffer(i)
		buf.Data = buf.Data[:64]
		buf.Data[12] = byte(i)
		buf.RawCRC = i%2 == 0 // its last four bytes are no CRC of the others
	}
	require.Equal(t, 10, q.Post(10))
	frames := make([]ring.Frame, 16)
	var got []byte
	require.Eventually(t, func() bool {
		n := in.Poll(frames)
		for _, f := range frames[:n] {
			got = append(got, f.Data[12])
		}
		in.Release()
		s, err := to.port.Stats()
		require.NoError(t, err)
		return by(s.Bad, "CRCERRS") == 5 && len(got) == 5
	}, testtime.Deadline, time.Millisecond)
	require.Equal(t, []byte{1, 3, 5, 7, 9}, got)
}
