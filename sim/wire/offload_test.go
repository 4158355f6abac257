package wire

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// superMessage makes a super-frame as the kernel delivers it.
func superMessage(t *testing.T, udp, v6 bool, payload, size int) message {
	t.Helper()
	var ip gopacket.NetworkLayer
	var l4 gopacket.SerializableLayer
	ether := &layers.Ethernet{SrcMAC: genSource[:], DstMAC: genTarget[:], EthernetType: layers.EthernetTypeIPv4}
	proto := layers.IPProtocolTCP
	o := offload{partial: true, gso: gsoTCP4, size: size, start: 34, offset: 16}
	if udp {
		proto, o.gso, o.offset = layers.IPProtocolUDP, gsoUDP, 6
		l4 = &layers.UDP{SrcPort: 40000, DstPort: 40001}
	} else {
		l4 = &layers.TCP{SrcPort: 40000, DstPort: 40001, Seq: 0xfffffff0, ACK: true, PSH: true, FIN: true, CWR: true, Window: 500}
	}
	if v6 {
		ether.EthernetType = layers.EthernetTypeIPv6
		o.start = 54
		if !udp {
			o.gso = gsoTCP6
		}
		ip = &layers.IPv6{Version: 6, NextHeader: proto, HopLimit: 9, SrcIP: make([]byte, 16), DstIP: append(make([]byte, 15), 1)}
	} else {
		ip = &layers.IPv4{Version: 4, Protocol: proto, TTL: 9, Id: 0xfffe, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
	}
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ether, ip.(gopacket.SerializableLayer), l4, gopacket.Payload(pattern(payload))))
	m := message{offload: o, at: 5}
	m.buffer = append(make([]byte, tagRoom), b.Bytes()...)
	m.data = m.buffer[tagRoom:]
	return m
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> 2)
	}
	return b
}

func TestSuperFramesAreCutAsByACard(t *testing.T) {
	for _, udp := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			for _, tag := range []bool{false, true} {
				for _, payload := range []int{20, 1000, 1030, 2000, 30_031} {
					m := superMessage(t, udp, v6, payload, 1000)
					m.hasTag, m.tpid, m.tci = tag, etherVLAN, 0x6005
					var s superframe
					require.True(t, s.begin(&m))
					var got []byte
					for i := 0; s.more(); i++ {
						frame := make([]byte, s.nextLen())
						s.next(frame)
						p := checked(t, frame)
						require.Nil(t, p.ErrorLayer())
						dot1q, tagged := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
						require.Equal(t, tag, tagged)
						if tag {
							require.EqualValues(t, 5, dot1q.VLANIdentifier)
							require.EqualValues(t, 3, dot1q.Priority)
						}
						part := p.TransportLayer().LayerPayload()
						last := !s.more()
						if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
							require.Equal(t, uint16(0xfffe+i), ip.Id)
							require.EqualValues(t, len(frame)-14-m.tagLen(), ip.Length)
						}
						switch l4 := p.TransportLayer().(type) {
						case *layers.TCP:
							require.Equal(t, uint32(0xfffffff0)+uint32(len(got)), l4.Seq)
							require.Equal(t, []bool{last, last, i == 0, true}, []bool{l4.FIN, l4.PSH, l4.CWR, l4.ACK})
						case *layers.UDP:
							require.EqualValues(t, 8+len(part), l4.Length)
						}
						require.True(t, last || len(part) == 1000)
						got = append(got, part...)
					}
					require.Equal(t, pattern(payload), got)
				}
			}
		}
	}
}

func TestDamagedSuperFramesAreNotCut(t *testing.T) {
	for name, change := range map[string]func(m *message){
		"no size":         func(m *message) { m.offload.size = 0 },
		"no checksum":     func(m *message) { m.offload.partial = false },
		"other kind":      func(m *message) { m.offload.gso = 3 },
		"other protocol":  func(m *message) { m.data[23] = 47 },
		"not IP":          func(m *message) { m.data[12] = 0x86 },
		"L4 before IP":    func(m *message) { m.offload.start = 20 },
		"L4 past the end": func(m *message) { m.offload.start = 60_000 },
		"TCP header":      func(m *message) { m.data[46] = 0x10 },
		"headers only":    func(m *message) { m.data = m.data[:54] },
		"cut":             func(m *message) { m.data = m.data[:40] },
		"tags to the end": func(m *message) { m.data = append(m.data[:12:12], 0x81, 0, 0, 5, 0x81, 0) },
	} {
		m := superMessage(t, false, false, 5000, 1000)
		change(&m)
		var s superframe
		require.False(t, s.begin(&m), name)
		require.False(t, s.more(), name)
	}
}

func FuzzSuperFrame(f *testing.F) {
	f.Add(make([]byte, 100), uint8(1), uint16(20), uint16(34), uint16(16), true)
	f.Fuzz(func(t *testing.T, data []byte, gso uint8, size, start, offset uint16, tag bool) {
		if len(data) < 14 || len(data) > packetBytes-tagRoom {
			return
		}
		m := message{buffer: append(make([]byte, tagRoom), data...), hasTag: tag,
			offload: offload{partial: true, gso: gsoType(gso), size: int(size), start: int(start), offset: int(offset)}}
		m.data = m.buffer[tagRoom:]
		var s superframe
		if s.begin(&m) {
			total := 0
			for s.more() {
				b := make([]byte, s.nextLen())
				s.next(b)
				total += len(b) - s.payload - s.tagLen()
			}
			if total != len(m.data)-s.payload {
				t.Fatalf("%d of %d bytes", total, len(m.data)-s.payload)
			}
		}
		m.complete()
		m.restoreTag()
	})
}

func TestTagIsRestored(t *testing.T) {
	m := message{buffer: append(make([]byte, tagRoom), pattern(60)...), hasTag: true, tpid: etherQinQ, tci: 0x2fff}
	m.data = m.buffer[tagRoom:]
	want := append(pattern(60)[:12:12], 0x88, 0xa8, 0x2f, 0xff)
	want = append(want, pattern(60)[12:]...)
	require.Equal(t, want, m.restoreTag())
}

func TestVnetHeaderIsDecoded(t *testing.T) {
	b := []byte{vnetPartial, byte(gsoTCP4) | gsoECN}
	for _, v := range []uint16{54, 1448, 34, 16} {
		b = binary.NativeEndian.AppendUint16(b, v)
	}
	require.Equal(t, offload{partial: true, gso: gsoTCP4, size: 1448, start: 34, offset: 16}, decodeOffload(b))
}
