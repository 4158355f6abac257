package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/internal/nettest"
)

// random is a frame with up to three tags, of IPv4, IPv6 or something else, of which the
// end may be missing.
func random(r *rand.Rand) []byte {
	var f []byte
	ports := 14
	switch r.IntN(4) {
	case 0:
		f = ipv4([]byte{6, 17, 1}[r.IntN(3)], uint16(r.IntN(3)), uint16(r.IntN(3)), 80)
		f[14] = 0x40 | []byte{5, 6, 15}[r.IntN(3)]
		binary.BigEndian.PutUint16(f[20:], []uint16{0, 0x4000, 0x2000, 0x2001, 7}[r.IntN(5)])
		if ports = 14 + int(f[14]&15)*4; ports > 34 {
			f = append(f[:34:34], append(make([]byte, ports-34), f[34:]...)...)
		}
	case 1:
		f, ports = make([]byte, 80), 54
		f[12], f[13], f[14] = 0x86, 0xdd, 0x60
		f[20] = []byte{6, 17, 58}[r.IntN(3)]
		binary.BigEndian.PutUint16(f[54:], uint16(r.IntN(3)))
		binary.BigEndian.PutUint16(f[56:], uint16(r.IntN(3)))
	default:
		f = make([]byte, 80)
		binary.BigEndian.PutUint16(f[12:], []uint16{0x88b5, 0x806, 46}[r.IntN(3)])
	}
	for range max(0, r.IntN(6)-2) {
		tag := []byte{0x81, 0, 0, byte(r.IntN(3))}
		if r.IntN(3) == 0 {
			tag[0], tag[1] = 0x88, 0xa8
		}
		f = append(f[:12:12], append(tag, f[12:]...)...)
		ports += 4
	}
	end := max(14, len(f)-r.IntN(2)*r.IntN(len(f)))
	if end > ports && end < ports+4 { // the expression would match the first port alone
		end = ports
	}
	return f[:end]
}

// check runs the program for the matches, and for their opposite, on random frames.
func check(t *testing.T, list []Match, want func(f []byte) bool) {
	r := rand.New(rand.NewPCG(1, uint64(len(list))))
	for _, pass := range []bool{false, true} {
		cfg := &Config{Take: list}
		if pass {
			cfg = &Config{Pass: list}
		}
		p, err := newProgram(1)
		require.NoError(t, err)
		code, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: license, Instructions: p.instructions(cfg, 1, metadata{})})
		require.NoError(t, err)
		require.NoError(t, p.set(control{Active: 1, Max: 1522}))
		var taken uint64
		hits := 0
		for range 3000 {
			f := random(r)
			_, err := code.Run(&ebpf.RunOptions{Data: f})
			require.NoError(t, err)
			if want(f) {
				hits++
			}
			if want(f) != pass {
				taken++
			}
			sum, err := p.tally(0)
			require.NoError(t, err)
			require.Equal(t, tally{Redirected: taken}, sum, "%v pass=%v: %x", list, pass, f)
		}
		require.Greater(t, hits, 30)
		require.NoError(t, code.Close())
		require.NoError(t, p.close())
	}
}

// The program takes what the expression of pcapfilter matches.
func TestFilterTakesWhatTheExpressionMatches(t *testing.T) {
	pair(t, 1500, 1) // for the rights
	for _, c := range []struct {
		take       []Match
		expression string // for the frame behind its tags
	}{
		{[]Match{{TCP, 1}}, "tcp port 1"},
		{[]Match{{UDP, 2}, {TCP, 1}}, "udp port 2 or tcp port 1"},
		{[]Match{{EtherType, 0x806}}, "ether proto 0x806"},
		{[]Match{{EtherType, 0x86dd}, {UDP, 0}}, "ether proto 0x86dd or udp port 0"},
	} {
		filter, err := pcapfilter.Compile(c.expression)
		require.NoError(t, err)
		check(t, c.take, func(f []byte) bool {
			for range 2 {
				if typ := binary.BigEndian.Uint16(f[12:]); (typ == ether.TypeVLAN || typ == ether.TypeQinQ) && len(f) >= 18 {
					f = append(append([]byte(nil), f[:12]...), f[16:]...)
				}
			}
			return filter.Match(f, len(f))
		})
	}
	check(t, []Match{{VLAN, 1}}, func(f []byte) bool {
		typ := binary.BigEndian.Uint16(f[12:])
		return len(f) >= 18 && (typ == ether.TypeVLAN || typ == ether.TypeQinQ) && binary.BigEndian.Uint16(f[14:])&0xfff == 1
	})
}

// A queue that was added during the capture has no socket: its frames are counted and
// passed.
func TestFramesOfAnAddedQueueAreCounted(t *testing.T) {
	pair(t, 1500, 2)
	p, err := newProgram(2)
	require.NoError(t, err)
	code, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: license, Instructions: p.instructions(&Config{}, 1, metadata{})})
	require.NoError(t, err)
	run := func(queue int, f []byte) {
		// struct xdp_md of linux/bpf.h.
		context := []uint32{0, uint32(len(f)), 0, uint32(nettest.Link(t, "ixb").Attrs().Index), uint32(queue), 0}
		action, err := code.Run(&ebpf.RunOptions{Data: f, Context: context})
		require.NoError(t, err)
		require.EqualValues(t, actPass, action)
	}
	run(0, numbered(1, 60)) // the capture has not begun
	require.NoError(t, p.set(control{Active: 1, Max: 1522}))
	run(0, numbered(1, 60))
	run(1, numbered(2, 60))
	run(1, numbered(3, 60))
	run(0, numbered(4, 1523))
	first, err := p.tally(0)
	require.NoError(t, err)
	require.Equal(t, tally{Redirected: 1, Super: 1}, first, "without a socket in the map, redirection passes")
	added, err := p.withoutSocket(1)
	require.NoError(t, err)
	require.EqualValues(t, 2, added)
	require.NoError(t, code.Close())
	require.NoError(t, p.close())
}
