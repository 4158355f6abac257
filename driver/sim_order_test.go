package driver_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim"
)

// someOf returns one of list.
func someOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// randomFilter is one of few addresses, ports and VLANs, so that several match a frame.
func randomFilter(r *rand.Rand, queues int) (f driver.Filter) {
	switch r.IntN(6) {
	case 0:
		f.EtherType = someOf[uint16](r, 0x88cc, 0x806)
	case 1:
		f.SYN = true
	default:
		f.Family = someOf(r, 4, 4, 4, 6, 0)
		if f.Family == 4 {
			f.Src = someOf(r, netip.Prefix{}, netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.0.0.0/24"))
			f.Dst = someOf(r, netip.Prefix{}, netip.Prefix{}, netip.MustParsePrefix("10.0.0.1/32"))
		}
		if f.Family == 6 {
			f.Src = someOf(r, netip.Prefix{}, netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/64"))
		}
		f.Protocol = someOf[uint8](r, 0, driver.ProtocolTCP, driver.ProtocolUDP)
		if f.Protocol != 0 {
			f.DstPort = someOf[uint16](r, 0, 0, 53, 80)
		}
		f.VLAN = someOf[uint16](r, 0, 0, 0, 7)
	}
	if f.Drop = r.IntN(4) == 0; !f.Drop {
		f.Queue = r.IntN(queues)
	}
	return f
}

// randomOf is a frame of the same addresses, with what filters compare of it.
func randomOf(r *rand.Rand) (data []byte, src, dst netip.AddrPort, proto byte, vlan uint16, syn bool) {
	port := func() uint16 { return someOf[uint16](r, 53, 80, 1000) }
	host := func() netip.Addr { return netip.MustParseAddr(someOf(r, "10.0.0.1", "10.0.0.2", "10.1.0.1")) }
	if r.IntN(3) == 0 {
		host = func() netip.Addr { return netip.MustParseAddr(someOf(r, "2001:db8::1", "2001:db8::2", "2001:db9::1")) }
	}
	src, dst = netip.AddrPortFrom(host(), port()), netip.AddrPortFrom(host(), port())
	proto, vlan = someOf[byte](r, protoTCP, protoUDP), someOf[uint16](r, 0, 0, 7, 8)
	var tag []byte
	if vlan != 0 {
		tag = []byte{0x81, 0, 0, byte(vlan)}
	}
	data = ipFrame(src, dst, proto, tag...)
	if syn = proto == protoTCP && r.IntN(2) == 0; syn {
		at := len(tag) + 14 + 20 + 13
		if src.Addr().Is6() {
			at += 20
		}
		data[at] = 2
	}
	data[0], data[1], data[2] = byte(r.Uint32())&^1, byte(r.Uint32()), byte(r.Uint32())
	return data, src, dst, proto, vlan, syn
}

// Of random filters that the driver accepts the first that matches a frame decides.
func TestModelFirstOfRandomFiltersDecides(t *testing.T) {
	const queues = 4
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, mode := range []driver.FlowDirector{driver.NoFlowDirector, driver.PerfectFlows} {
		r := openWire(t, &testWire{open: true}, sim.Config{}, driver.Config{Queues: 10, RingSize: 1024, RSS: rssTo9(), FlowDirector: mode})
		require.NoError(t, r.port.Start())
		accepted := 0
		for range 500 {
			filters := make([]driver.Filter, 1+rnd.IntN(4))
			for i := range filters {
				filters[i] = randomFilter(rnd, queues)
			}
			if _, err := r.port.SetFilters(filters); err != nil {
				continue
			}
			accepted++
			var frames [][]byte
			want := map[string]int{}
			for range 40 {
				data, src, dst, proto, vlan, syn := randomOf(rnd)
				frames = append(frames, data)
				want[string(data)] = 9
				for _, f := range filters {
					family := 6
					if src.Addr().Is4() {
						family = 4
					}
					if f.EtherType != 0 || f.SYN && !syn || f.Family != 0 && f.Family != family || f.Protocol != 0 && f.Protocol != proto ||
						f.Src.IsValid() && !f.Src.Contains(src.Addr()) || f.Dst.IsValid() && !f.Dst.Contains(dst.Addr()) ||
						f.DstPort != 0 && f.DstPort != dst.Port() || f.VLAN != 0 && f.VLAN != vlan {
						continue
					}
					if want[string(data)] = f.Queue; f.Drop {
						want[string(data)] = -1
					}
					break
				}
			}
			got := map[string]int{}
			for _, f := range r.through(frames) {
				got[string(f.data)] = f.queue
			}
			for _, data := range frames {
				q, ok := got[string(data)]
				if !ok {
					q = -1
				}
				require.Equal(t, want[string(data)], q, "%+v\n%x", filters, data)
			}
		}
		require.Greater(t, accepted, 50)
	}
}
