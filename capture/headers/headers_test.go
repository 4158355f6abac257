package headers

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// build serializes layers, and zeros to the least length of a frame.
func build(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...))
	frame := b.Bytes()
	for len(frame) < 60 {
		frame = append(frame, 0)
	}
	return frame
}

func ethernet(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: kind}
}

func ipv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, Protocol: proto, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
}

func TestHeadersOfAFrame(t *testing.T) {
	var h Headers
	ip := ipv4(layers.IPProtocolUDP)
	ip.Id, ip.Flags = 7, layers.IPv4MoreFragments
	frame := build(t, ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeDot1Q},
		&layers.Dot1Q{VLANIdentifier: 6, Type: layers.EthernetTypeIPv4}, ip, &layers.UDP{SrcPort: 1, DstPort: 2})
	require.True(t, h.Parse(frame))
	want := Headers{
		Tags: 2, VLAN: 5, InnerVLAN: 6, Type: 0x800, Network: 22, Version: 4, Proto: 17,
		Fragment: true, ID: 7, Transport: 42, End: 50, Limit: 50, count: h.count,
	}
	require.Equal(t, want, h)
	require.Len(t, h.Within(frame), 50)
	require.False(t, h.Inner(frame, AllTunnels))
	require.Equal(t, 50, h.End)

	require.False(t, h.Parse(frame[:13]))
	require.Equal(t, Headers{Ethernet: -1, Network: -1, Transport: -1, count: 1}, h)
	require.True(t, h.Parse(frame[:30])) // IP is cut
	require.Equal(t, Headers{Tags: 2, VLAN: 5, InnerVLAN: 6, Type: 0x800, Network: 22, Transport: -1, count: h.count}, h)
}

func TestExtensionHeadersAreFollowed(t *testing.T) {
	fragment := []byte{60, 0, 0, 0x19, 0, 0, 0, 9} // offset 24, more
	packet := append([]byte{44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, fragment...)
	ip := &layers.IPv6{Version: 6, NextHeader: 0, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)}
	frame := build(t, ethernet(layers.EthernetTypeIPv6), ip, gopacket.Payload(packet))
	var h Headers
	require.True(t, h.Parse(frame))
	require.Equal(t, Headers{
		Type: 0x86dd, Network: 14, Version: 6, Proto: 60, Fragment: true, Offset: 24, ID: 9, Transport: 78, End: 78, Limit: 78, count: h.count,
	}, h)

	binary.BigEndian.PutUint16(frame[14+40+16+2:], 1) // the first part: what is behind follows, and is cut
	require.True(t, h.Parse(frame))
	require.True(t, h.Fragment)
	require.Zero(t, h.Offset)
	require.EqualValues(t, 60, h.Proto)
	require.Equal(t, -1, h.Transport)
}

func TestTunnelsAreFollowedOnDemand(t *testing.T) {
	inner := []gopacket.SerializableLayer{ipv4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 80, DataOffset: 5}}
	frame := build(t, append([]gopacket.SerializableLayer{
		ethernet(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4, KeyPresent: true, Key: 99},
	}, inner...)...)
	var h Headers
	require.True(t, h.Parse(frame))
	require.EqualValues(t, 47, h.Proto)
	before := h
	require.False(t, h.Inner(frame, AllTunnels&^GRE))
	require.Equal(t, before, h)
	require.True(t, h.Inner(frame, GRE))
	require.Equal(t, GRE, h.Tunnel)
	require.EqualValues(t, 99, h.TunnelID)
	require.EqualValues(t, 6, h.Proto)
	require.Equal(t, 14+20+8, h.Network)
	require.False(t, h.Inner(frame, AllTunnels))

	require.True(t, h.Parse(frame[:50])) // the packet inside is cut: the outer one stays
	before = h
	require.False(t, h.Inner(frame[:50], AllTunnels))
	before.count = h.count
	require.Equal(t, before, h)
}

func FuzzHeaders(f *testing.F) {
	udp := &layers.UDP{DstPort: 4789}
	vxlan := &layers.VXLAN{ValidIDFlag: true, VNI: 3}
	f.Add(build(f, ethernet(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolUDP), udp, vxlan, ethernet(layers.EthernetTypeMPLSUnicast),
		&layers.MPLS{Label: 9, StackBottom: true}, ipv4(layers.IPProtocolIPv4), ipv4(layers.IPProtocolTCP)))
	f.Add(build(f, ethernet(layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, NextHeader: 44, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)},
		gopacket.Payload([]byte{51, 0, 0, 0, 0, 0, 0, 0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var h Headers
		if !h.Parse(frame) {
			require.Less(t, len(frame), 14)
			return
		}
		for n, outer := 0, -1; ; n++ {
			require.LessOrEqual(t, n, maxHeaders)
			require.LessOrEqual(t, h.Ethernet+14, len(frame))
			require.Greater(t, h.Network, outer, "a step inside goes on")
			if h.Version != 0 {
				require.LessOrEqual(t, h.Network+20, len(frame))
				require.True(t, h.Transport < 0 || h.Transport >= h.Network+20)
			}
			if h.End > 0 {
				require.LessOrEqual(t, h.Limit, h.End)
				require.Positive(t, h.Limit)
			}
			outer = h.Network
			if !h.Inner(frame, AllTunnels) {
				return
			}
		}
	})
}
