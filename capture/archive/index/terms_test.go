package index

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

func network(p netip.Prefix) pcapfilter.Term { return pcapfilter.Term{Kind: pcapfilter.Net, Net: p} }

func port(p uint16) pcapfilter.Term { return pcapfilter.Term{Kind: pcapfilter.Port, Lo: p, Hi: p} }

// termsOf returns the terms of a frame by an independent decoder: its addresses, their
// networks, and the ports of its outermost IP header.
func termsOf(data []byte) (terms []pcapfilter.Term) {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
	add := func(b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		for bits := 1; bits <= a.BitLen(); bits += 7 {
			terms = append(terms, network(netip.PrefixFrom(a, bits)))
		}
		terms = append(terms, network(netip.PrefixFrom(a, a.BitLen())))
	}
	fragment := false
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			add(l.SrcIP)
			add(l.DstIP)
			fragment = l.FragOffset != 0
		case *layers.IPv6:
			add(l.SrcIP)
			add(l.DstIP)
		case *layers.ARP:
			if len(l.SourceProtAddress) == 4 && l.HwAddressSize == 6 {
				add(l.SourceProtAddress)
				add(l.DstProtAddress)
			}
		case *layers.TCP:
			if !fragment {
				terms = append(terms, port(uint16(l.SrcPort)), port(uint16(l.DstPort)))
			}
		case *layers.UDP:
			if !fragment {
				terms = append(terms, port(uint16(l.SrcPort)), port(uint16(l.DstPort)))
			}
		case *layers.Ethernet, *layers.Dot1Q, *layers.MPLS, *layers.PPPoE, *layers.PPP:
			continue
		}
		if _, ip := l.(gopacket.NetworkLayer); !ip {
			break // one transport: filters do not read the payload of ICMP and tunnels
		}
	}
	return terms
}
