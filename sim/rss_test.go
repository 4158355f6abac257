package sim

import (
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// The key and the values are those of Microsoft's RSS verification suite.
var rssKey = [40]byte{
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
	0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
	0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
}

func (r *rig) rss(fields uint32) {
	for i := range uint32(10) {
		k := rssKey[4*i:]
		r.write(rRSSRK+4*i, uint32(k[0])|uint32(k[1])<<8|uint32(k[2])<<16|uint32(k[3])<<24)
	}
	for i := range uint32(32) {
		r.write(rRETA+4*i, 0x03020100)
	}
	r.write(rMRQC, 1|fields)
}

const allRSS = mrqcTCP4 | mrqcIP4 | mrqcIP6 | mrqcTCP6 | mrqcUDP4 | mrqcUDP6

func TestRSS(t *testing.T) {
	v4 := [2]string{"66.9.149.187", "161.142.100.80"}
	a6, b6 := "3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1"
	for _, c := range []struct {
		name   string
		frame  []byte
		fields uint32
		kind   uint64
		hash   uint32
	}{
		{"TCP over IPv4", tcp4(v4[0], v4[1], 2794, 1766, 10), allRSS, rssTCP4, 0x51ccc178},
		{"TCP over IPv4, addresses only", tcp4(v4[0], v4[1], 2794, 1766, 10), mrqcIP4, rssIP4, 0x323e8fc2},
		{"UDP over IPv4", udp4(v4[0], v4[1], 2794, 1766, 10), allRSS, rssUDP4, 0x51ccc178},
		{"UDP over IPv4, TCP and IP enabled", udp4(v4[0], v4[1], 2794, 1766, 10), mrqcTCP4 | mrqcIP4, rssIP4, 0x323e8fc2},
		{"TCP over IPv4, UDP enabled", tcp4(v4[0], v4[1], 2794, 1766, 10), mrqcUDP4, rssNone, 0},
		{"TCP over IPv6", l46(a6, b6, 2794, 1766, true, 10), allRSS, rssTCP6, 0x40207d3d},
		{"UDP over IPv6", l46(a6, b6, 2794, 1766, false, 10), allRSS, rssUDP6, 0x40207d3d},
		{"IPv6 addresses only", l46(a6, b6, 2794, 1766, true, 10), mrqcIP6, rssIP6, 0x2cc18cd5},
		{"tagged", tagged(tcp4(v4[0], v4[1], 2794, 1766, 10), 9), allRSS, rssTCP4, 0x51ccc178},
		{"not IP", plain(60), allRSS, rssNone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			r.rss(c.fields)
			var x [4]*rxRing
			for q := range x {
				x[q] = r.rx(q, 8, 2048)
			}
			r.w.push(c.frame)
			r.run()
			g, ok := x[c.hash&3].pop()
			require.True(t, ok, "queue %d", c.hash&3)
			require.Equal(t, c.kind, g.lo&0xf)
			require.Equal(t, c.hash, g.hash())
		})
	}
}

// With pools the table's index selects a queue of the pool; PSRTYPE.RQPL limits it
// (datasheet 7.1.2.2).
func TestRSSWithinThePool(t *testing.T) {
	for _, c := range []struct {
		name       string
		mode, rqpl uint32
		pool, want int // want: for index 3
	}{
		{"64 pools, no RSS", mrqePools64, 1, 5, 10},
		{"64 pools, RSS", mrqePools64RSS, 1, 5, 11},
		{"32 pools, RSS", mrqePools32RSS, 2, 5, 23},
		{"32 pools, 2 queues of a pool", mrqePools32RSS, 1, 5, 21},
		{"32 pools, no RSS in the pool", mrqePools32RSS, 0, 5, 20},
		{"the last pool", mrqePools64RSS, 1, 63, 127},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			r.rss(allRSS)
			for i := range uint32(32) {
				r.write(rRETA+4*i, 0x03030303)
			}
			r.write(rPFVTCTL, 1|uint32(c.pool)<<7)
			r.write(rPSRTYPE+4*uint32(c.pool), c.rqpl<<29)
			r.write(rMRQC, allRSS|c.mode)
			r.configure()
			m := r.NIC.rx.cfg.parse(udp4("10.0.0.1", "10.0.0.2", 1, 2, 40))
			require.EqualValues(t, c.want, r.NIC.rx.cfg.poolQueue(uint32(c.pool), m))
			require.Zero(t, r.Stats().Faults)
		})
	}
}

func TestFastPathAgreesWithSlowPath(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rss(allRSS)
	r.configure()
	c := &r.NIC.rx.cfg
	require.True(t, c.fast)
	for i := range 2000 {
		f := udp4("10.1.2.3", "10.3.2.1", uint16(i), 80, 18+i%200)
		if i%2 == 0 {
			f = tcp4("10.1.2.3", "10.3.2.1", uint16(i), 80, 18+i%200)
		}
		if i%3 != 0 {
			f[14+i%40] ^= byte(i >> 3)
		}
		var want fields
		c.parseSlow(f, &want)
		require.Equal(t, want.pack(), c.parse(f))
	}
}

func TestChecksumStatus(t *testing.T) {
	broken := func(f []byte, at int) []byte {
		f[at] ^= 0x10
		return f
	}
	fragment := udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)
	fragment[20] = 0x20 // more fragments
	zero := udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)
	zero[40], zero[41] = 0, 0
	sctp := serialize(ethernet(layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolSCTP, SrcIP: ip("10.0.0.1"), DstIP: ip("10.0.0.2")},
		&layers.SCTP{SrcPort: 1, DstPort: 2}, gopacket.Payload(pattern(20)))
	options6 := l46("fe80::1", "fe80::2", 1, 2, false, 40)
	options6 = slices.Insert(options6, 54, 17, 0, 1, 4, 0, 0, 0, 0)
	options6[20], options6[19] = 0, options6[19]+8
	fragment6 := slices.Clone(options6)
	fragment6[20] = 44
	const ip4UDP, ip4TCP = stIPCS | stL4CS | stUDPCS, stIPCS | stL4CS
	for _, c := range []struct {
		name   string
		frame  []byte
		status uint32
		ptype  uint64
	}{
		{"UDP", udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), ip4UDP, ptIP4 | ptUDP},
		{"TCP", tcp4("10.0.0.1", "10.0.0.2", 1, 2, 41), ip4TCP, ptIP4 | ptTCP},
		{"UDP, bad IP checksum", broken(udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), 22), ip4UDP | errIPE, ptIP4 | ptUDP},
		{"TCP, bad payload", broken(tcp4("10.0.0.1", "10.0.0.2", 1, 2, 40), 80), ip4TCP | errTCPE, ptIP4 | ptTCP},
		{"UDP without checksum", zero, stIPCS, ptIP4 | ptUDP},
		{"fragment", fragment, stIPCS | errIPE, ptIP4},
		{"UDP over IPv6", l46("fe80::1", "fe80::2", 1, 2, false, 40), stL4CS | stUDPCS, ptIP6 | ptUDP},
		{"TCP over IPv6, bad", broken(l46("fe80::1", "fe80::2", 1, 2, true, 41), 90), stL4CS | errTCPE, ptIP6 | ptTCP},
		{"UDP over IPv6 in IPv4", in4(l46("fe80::1", "fe80::2", 1, 2, false, 40)), stIPCS, ptIP4 | ptIP6 | ptUDP},
		{"TCP over IPv6 in IPv4, bad", in4(broken(l46("fe80::1", "fe80::2", 1, 2, true, 41), 90)), stIPCS, ptIP4 | ptIP6 | ptTCP},
		{"IPv6 with options in IPv4", in4(options6), stIPCS, ptIP4 | ptIP6 | ptIP6Ext | ptUDP},
		{"IPv6 fragment in IPv4", in4(fragment6), stIPCS, ptIP4 | ptIP6 | ptIP6Ext},
		{"cut IPv6 header in IPv4", in4(l46("fe80::1", "fe80::2", 1, 2, false, 40)[:53]), stIPCS, ptIP4},
		{"cut IPv6 payload in IPv4", in4(l46("fe80::1", "fe80::2", 1, 2, false, 40)[:80]), stIPCS, ptIP4 | ptIP6},
		{"IPv4 in IPv4", in4(udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)), stIPCS, ptIP4},
		{"SCTP", sctp, stIPCS | stL4CS, ptIP4 | ptSCTP},
		{"ARP-like", plain(60), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			x := r.rx(0, 8, 2048)
			r.w.push(c.frame)
			r.run()
			g, ok := x.pop()
			require.True(t, ok)
			require.Equal(t, c.status|stDD|stEOP|stPIF, g.status())
			require.Equal(t, c.ptype, g.lo>>4&0x1fff)
		})
	}
}

// RSS hashes the outer addresses of a tunnelled packet (datasheet 7.1.2.8.1).
func TestRSSOfIPv6InIPv4(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rss(allRSS)
	r.configure()
	f := in4(l46("2001:db8::1", "2001:db8::2", 1, 2, true, 40))
	m := r.NIC.rx.cfg.parse(f)
	require.EqualValues(t, rssIP4, m.lo&0xf)
	require.EqualValues(t, r.NIC.rx.cfg.key.hash(f[26:34]), m.lo>>32)
}

func TestEtherTypeFilterSelectsTheQueue(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rETQF+4*2, 1<<31|0x88b5)
	r.write(rETQS+4*2, 1<<31|3<<16)
	x := r.rx(3, 8, 2048)
	r.w.push(plain(60))
	r.run()
	g, ok := x.pop()
	require.True(t, ok)
	require.EqualValues(t, ptETQF|2, g.lo>>4&0x1fff)
}

// Any frame is classified without a panic, in the same way by both paths.
func FuzzParse(f *testing.F) {
	for _, frame := range [][]byte{
		plain(60), udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), tcp4("10.0.0.1", "10.0.0.2", 1, 2, 40),
		l46("fe80::1", "fe80::2", 1, 2, true, 40), tagged(udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), 5),
		in4(l46("fe80::1", "fe80::2", 1, 2, false, 40)),
	} {
		f.Add(frame)
	}
	r := newRig(f, Config{})
	r.promiscuous()
	r.rss(allRSS)
	r.configure()
	c := &r.NIC.rx.cfg
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minFrame {
			frame = append(frame, make([]byte, minFrame-len(frame))...)
		}
		var got fields
		c.parseSlow(frame, &got)
		require.Equal(t, got.pack(), c.parse(frame))
		if got.ptype&(ptIP4|ptIP6) == ptIP4|ptIP6 {
			require.Zero(t, got.status&(stL4CS|errTCPE), "the inner checksum is not verified")
			require.EqualValues(t, rssIP4, got.rssType)
		}
		if got.ptype&ptIP6Ext != 0 {
			require.NotZero(t, got.ptype&ptIP6)
		}
	})
}
