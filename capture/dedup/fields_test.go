package dedup

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

func TestFieldsAreParsedAndPrinted(t *testing.T) {
	for x := range allFields + 1 {
		again, err := ParseFields(x.String())
		require.NoError(t, err)
		require.Equal(t, x, again)
	}
	require.Equal(t, "vlan+ttl+checksum+mac", allFields.String())
	for _, bad := range []string{"", "vlan,ttl", "vlan+", "TTL"} {
		_, err := ParseFields(bad)
		require.ErrorContains(t, err, "choose of vlan+ttl+checksum+mac, or none", bad)
	}
}

// Frames as they come from several places on their way.
func TestCopiesThatTheWayChangedAreDuplicatesIfTheSettingsSaySo(t *testing.T) {
	tcp := func() *ring.Frame {
		b := make([]byte, 90)
		copy(b, []byte{
			2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
			0x45, 0, 0, 76, 0, 7, 0x40, 0, 64, 6, 0x12, 0x34, 10, 0, 0, 1, 10, 0, 0, 2,
		})
		return &ring.Frame{Data: b, Len: 90}
	}
	insert := func(f *ring.Frame, tags ...byte) {
		f.Data = slices.Insert(f.Data, 12, tags...)
		f.Len += uint32(len(tags))
	}
	for _, c := range []struct {
		name   string
		fields Fields // that are enough; with any other one missing it is another frame
		change func(f *ring.Frame)
	}{
		{"exact", 0, func(*ring.Frame) {}},
		{"tagged", VLAN, func(f *ring.Frame) { insert(f, 0x81, 0, 0, 5) }},
		{"tagged twice", VLAN, func(f *ring.Frame) { insert(f, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 7) }},
		{"tag stripped by the device", VLAN, func(f *ring.Frame) { f.Info, f.VLAN = ring.HasVLAN|ring.Stripped, 5 }},
		{"routed", TTL | MAC, func(f *ring.Frame) { f.Data[0], f.Data[6], f.Data[22], f.Data[24] = 4, 4, 63, 0x13 }},
		{"checksum left to the card", Checksum, func(f *ring.Frame) { f.Data[24], f.Data[50], f.Data[51] = 0, 0xab, 0xcd }},
		{"all", allFields, func(f *ring.Frame) {
			f.Data[0], f.Data[22], f.Data[51] = 4, 63, 9
			insert(f, 0x81, 0, 0, 5)
			f.Data, f.Rest = f.Data[:17], [][]byte{f.Data[17:]}
		}},
	} {
		for ignored := range allFields + 1 {
			tab := newTable(t, Config{Ignore: ignored})
			require.False(t, tab.Duplicate(tcp(), 1000))
			f := tcp()
			c.change(f)
			require.Equal(t, ignored&c.fields == c.fields, tab.Duplicate(f, 1001), "%s, ignored: %v", c.name, ignored)
			if f.Rest == nil {
				f.Data[60]++
			} else {
				f.Rest[0][60]++
			}
			require.False(t, tab.Duplicate(f, 1002), "%s, another payload", c.name)
		}
	}
}

// maskedByGopacket clears fields where gopacket's decoder finds them, in the first
// header of each kind.
func maskedByGopacket(x Fields, data []byte) []byte {
	b := bytes.Clone(data)
	if x&MAC != 0 {
		clear(b[:12])
	}
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
	tags, after := 0, false
	for _, l := range p.Layers() {
		h := l.LayerContents()
		switch l.(type) {
		case *layers.Ethernet:
			continue
		case *layers.Dot1Q:
			if !after {
				tags++
			}
			continue
		case *layers.IPv4:
			if after {
				continue
			}
			if x&TTL != 0 {
				h[8] = 0
			}
			if x&(TTL|Checksum) != 0 {
				h[10], h[11] = 0, 0
			}
		case *layers.IPv6:
			if !after && x&TTL != 0 {
				h[7] = 0
			}
		case *layers.TCP:
			if x&Checksum != 0 {
				h[16], h[17] = 0, 0
			}
			return untagged(x, b, tags)
		case *layers.UDP:
			if x&Checksum != 0 {
				h[6], h[7] = 0, 0
			}
			return untagged(x, b, tags)
		case *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPv6Fragment, *layers.IPSecAH:
		default:
			return untagged(x, b, tags)
		}
		after = true
	}
	return untagged(x, b, tags)
}

func untagged(x Fields, b []byte, tags int) []byte {
	if x&VLAN == 0 {
		return b
	}
	return slices.Delete(b, 12, 12+4*tags)
}

func TestMaskClearsTheFieldsThatGopacketFindsInRealTraffic(t *testing.T) {
	for _, file := range []string{hosts, mix} {
		t.Run(file, func(t *testing.T) {
			changed := 0
			for i, a := range readCapture(t, file) {
				if i%50 == 0 { // some with a tag
					a.data = retagged(a.data, uint16(i%4000+1))
				}
				if a.data == nil || i%3 != 0 {
					continue
				}
				p := gopacket.NewPacket(a.data, layers.LayerTypeEthernet, gopacket.Default)
				if p.Layer(gopacket.LayerTypeFragment) != nil {
					continue // gopacket does not look into fragments, mask does into the first
				}
				x := Fields(i/3) & allFields
				got, want := x.mask(bytes.Clone(a.data)), maskedByGopacket(x, a.data)
				if !bytes.Equal(got, want) {
					require.Fail(t, "masks differ", "%v of frame %d: %x\ngot  %x\nwant %x", x, i, a.data, got, want)
				}
				if !bytes.Equal(got, a.data) {
					changed++
				}
			}
			require.Greater(t, changed, 20)
		})
	}
}

// FuzzMask: the mask of a frame that was cut is the beginning of the mask of the whole,
// masking twice changes nothing, and only fields change.
func FuzzMask(f *testing.F) {
	ip6 := make([]byte, 120)
	copy(ip6[12:], []byte{0x81, 0, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 62, 0, 64})
	ip6[58], ip6[59], ip6[66] = 44, 0, 6 // hop-by-hop, then a fragment header, then TCP
	f.Add(ip6, uint8(15), uint16(70))
	ip4 := make([]byte, 60)
	copy(ip4[12:], []byte{8, 0, 0x46, 0, 0, 46, 0, 0, 0, 0, 64, 17})
	f.Add(ip4, uint8(6), uint16(44))
	udp := bytes.Repeat([]byte{0x30}, 62) // cut in its checksum
	copy(udp[12:], []byte{0x86, 0xdd, 0x60})
	udp[20] = 17
	f.Add(udp, uint8(Checksum), uint16(61))
	f.Fuzz(func(t *testing.T, data []byte, fields uint8, cut uint16) {
		x := Fields(fields) & allFields
		whole := x.mask(bytes.Clone(data))
		require.Equal(t, whole, x.mask(bytes.Clone(whole)), "again")
		if x&VLAN == 0 {
			require.Len(t, whole, len(data))
		}
		n := int(cut) % (len(data) + 1)
		part := x.mask(bytes.Clone(data[:n]))
		tagged := 12 // where the tags end
		for len(data) >= tagged+4 && isTag(data[tagged:]) {
			tagged += 4
		}
		if n >= tagged+4 || x&VLAN == 0 {
			require.True(t, bytes.HasPrefix(whole, part), "%v of %x cut to %d: %x of %x", x, data, n, part, whole)
		}
		changes := 0
		if len(whole) == len(data) {
			for i := range data {
				if whole[i] != data[i] {
					changes++
				}
			}
			require.LessOrEqual(t, changes, 12+1+2+2)
		}
	})
}

func isTag(b []byte) bool {
	typ := binary.BigEndian.Uint16(b)
	return typ == 0x8100 || typ == 0x88a8 || typ == 0x9100
}
