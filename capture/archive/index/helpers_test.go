package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
)

// day is when the tests' traffic begins.
var day = time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)

// record makes a record of a frame whole or cut.
func record(at time.Time, data []byte, wire int) rawfile.Record {
	return rawfile.Record{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond()), Len: uint16(max(wire, len(data))), Data: data}
}

// rawOf is a RAW file of records.
func rawOf(t testing.TB, records []rawfile.Record) []byte {
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 0)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.End())
	return out.Bytes()
}

// sidecarOf is the sidecar of a RAW file's bytes, given in pieces of a length.
func sidecarOf(t testing.TB, raw []byte, piece int) []byte {
	b := NewBuilder()
	var out []byte
	for off := 0; off < len(raw); off += piece {
		if _, err := b.Write(raw[off:min(off+piece, len(raw))]); err != nil {
			break
		}
		out = append(out, b.Take()...)
	}
	return append(out, b.Finish(int64(len(raw)))...)
}

// nameOf is the name that package store gives a file; TestNamesOfTheStorerAreRead
// holds it to that.
func nameOf(port string, queue int, first time.Time, seq int) string {
	return fmt.Sprintf("%s.%09dZ-%s-q%02d-%06d", first.Format("20060102T150405"), first.Nanosecond(), port, queue, seq)
}

// put writes a file of a folder.
func put(t testing.TB, dir, name string, b []byte) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, b, 0o644))
	return path
}

// flow is what a frame carries.
type flow struct {
	v6           bool
	src, dst     [16]byte
	sport, dport uint16
	proto        byte
	vlans        int
	mpls         int
	pppoe, arp   bool
	fragment     bool
	options      int
}

// randomFlow draws from few hosts and ports, so that filters match something.
func randomFlow(r *rand.Rand, hosts int) flow {
	f := flow{v6: r.IntN(4) == 0, sport: uint16(1024 + r.IntN(60000)), dport: []uint16{53, 80, 443, 5060}[r.IntN(4)]}
	f.proto = []byte{6, 17, 132, 1}[r.IntN(4)]
	for _, a := range []*[16]byte{&f.src, &f.dst} {
		n := r.IntN(hosts)
		copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, byte(n >> 8), byte(n), 0, byte(n % 3), 8: 1, 15: byte(n)})
		if !f.v6 {
			copy(a[:], []byte{10, byte(n >> 8), byte(n), byte(n * 7)})
		}
	}
	switch r.IntN(8) {
	case 0:
		f.vlans = 1 + r.IntN(2)
	case 1:
		f.mpls = 1 + r.IntN(3)
	case 2:
		f.pppoe = true
	case 3:
		f.arp = true
	case 4:
		f.fragment = true
	case 5:
		f.options = 1 + r.IntN(10)
	}
	return f
}

// frame builds the flow's next frame of a length, or as short as its headers are.
func (f flow) frame(length int) []byte {
	b := make([]byte, 12, 128)
	b[5], b[11] = 1, 2
	for range f.vlans {
		b = append(b, 0x81, 0, 0, 5)
	}
	ip := []byte{0x08, 0, 0x86, 0xdd, 0x00, 0x21, 0x00, 0x57}
	if f.v6 {
		ip = ip[2:]
	}
	switch {
	case f.arp:
		b = append(b, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2)
		b = append(b, f.src[:4]...)
		b = append(b, 0, 0, 0, 0, 0, 0)
		return pad(append(b, f.dst[:4]...), length)
	case f.mpls > 0:
		b = append(b, 0x88, 0x47)
		for i := range f.mpls {
			bottom := byte(0)
			if i == f.mpls-1 {
				bottom = 1
			}
			b = append(b, 0, 1, bottom, 64)
		}
	case f.pppoe:
		b = append(b, 0x88, 0x64, 0x11, 0, 0, 1, 0, 100)
		b = append(b, ip[4:6]...)
	default:
		b = append(b, ip[:2]...)
	}
	if f.v6 {
		b = append(b, 0x60, 0, 0, 0, 0, 20, f.proto, 64)
		b = append(append(b, f.src[:]...), f.dst[:]...)
	} else {
		offset := byte(0)
		if f.fragment {
			offset = 0x20
		}
		b = append(b, 0x45+byte(f.options), 0, 0, 40, 0, 0, 0, offset, 64, f.proto, 0, 0)
		b = append(append(b, f.src[:4]...), f.dst[:4]...)
		b = append(b, make([]byte, 4*f.options)...)
	}
	b = binary.BigEndian.AppendUint16(b, f.sport)
	b = binary.BigEndian.AppendUint16(b, f.dport)
	return pad(b, length)
}

func pad(b []byte, length int) []byte {
	return append(b, make([]byte, max(0, length-len(b)))...)
}

// traffic is n records of some hosts' flows, a step apart, some of them cut.
func traffic(seed uint64, n, hosts int, from time.Time, step time.Duration) []rawfile.Record {
	r := rand.New(rand.NewPCG(seed, 1))
	flows := make([]flow, 24)
	for i := range flows {
		flows[i] = randomFlow(r, hosts)
	}
	records := make([]rawfile.Record, n)
	for i := range records {
		if r.IntN(50) == 0 {
			flows[r.IntN(len(flows))] = randomFlow(r, hosts)
		}
		b := flows[r.IntN(len(flows))].frame([]int{60, 60, 576, 1514}[r.IntN(4)])
		kept := b
		if r.IntN(8) == 0 {
			kept = b[:r.IntN(min(len(b), 100)+1)]
		}
		records[i] = record(from.Add(time.Duration(i)*step), kept, len(b))
	}
	return records
}

// capture reads a shipped capture's records.
func captured(t testing.TB, path string) []rawfile.Record {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := convert.NewReader(f)
	require.NoError(t, err)
	var all []rawfile.Record
	for {
		rec, err := r.Next()
		if err != nil {
			return all
		}
		rec.Data = bytes.Clone(rec.Data)
		all = append(all, rec)
	}
}
