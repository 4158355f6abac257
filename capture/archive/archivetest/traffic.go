package archivetest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
)

// Day is the time at which the tests' traffic begins.
var Day = time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)

// Record returns a record of a frame of wire bytes, of which data was kept.
func Record(at time.Time, data []byte, wire int) rawfile.Record {
	return rawfile.Record{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond()), Len: uint16(max(wire, len(data))), Data: data}
}

// Raw returns a RAW file with the records.
func Raw(t testing.TB, records []rawfile.Record) []byte {
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 0)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.End())
	return out.Bytes()
}

// Put writes a file to a directory and returns its path.
func Put(t testing.TB, dir, name string, b []byte) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, b, 0o644))
	return path
}

// Flow describes the headers of frames.
type Flow struct {
	V6           bool
	Src, Dst     [16]byte // IPv4 in the first 4 bytes
	Sport, Dport uint16
	Proto        byte
	VLANs, MPLS  int // tags, labels
	PPPoE, ARP   bool
	Fragment     bool
	Options      int // words of IPv4 options
}

// RandomFlow draws from few hosts and ports, so that filters match some frames.
func RandomFlow(r *rand.Rand, hosts int) Flow {
	f := Flow{V6: r.IntN(4) == 0, Sport: uint16(1024 + r.IntN(60000)), Dport: []uint16{53, 80, 443, 5060}[r.IntN(4)]}
	f.Proto = []byte{6, 17, 132, 1}[r.IntN(4)]
	for _, a := range []*[16]byte{&f.Src, &f.Dst} {
		n := r.IntN(hosts)
		copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, byte(n >> 8), byte(n), 0, byte(n % 3), 8: 1, 15: byte(n)})
		if !f.V6 {
			copy(a[:], []byte{10, byte(n >> 8), byte(n), byte(n * 7)})
		}
	}
	switch r.IntN(8) {
	case 0:
		f.VLANs = 1 + r.IntN(2)
	case 1:
		f.MPLS = 1 + r.IntN(3)
	case 2:
		f.PPPoE = true
	case 3:
		f.ARP = true
	case 4:
		f.Fragment = true
	case 5:
		f.Options = 1 + r.IntN(10)
	}
	return f
}

// Frame returns a frame of the flow, length bytes or as long as its headers.
func (f Flow) Frame(length int) []byte {
	b := make([]byte, 12, 128)
	b[5], b[11] = 1, 2
	for range f.VLANs {
		b = append(b, 0x81, 0, 0, 5)
	}
	ip := []byte{0x08, 0, 0x86, 0xdd, 0x00, 0x21, 0x00, 0x57}
	if f.V6 {
		ip = ip[2:]
	}
	switch {
	case f.ARP:
		b = append(b, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2)
		b = append(b, f.Src[:4]...)
		b = append(b, 0, 0, 0, 0, 0, 0)
		return pad(append(b, f.Dst[:4]...), length)
	case f.MPLS > 0:
		b = append(b, 0x88, 0x47)
		for i := range f.MPLS {
			bottom := byte(0)
			if i == f.MPLS-1 {
				bottom = 1
			}
			b = append(b, 0, 1, bottom, 64)
		}
	case f.PPPoE:
		b = append(b, 0x88, 0x64, 0x11, 0, 0, 1, 0, 100)
		b = append(b, ip[4:6]...)
	default:
		b = append(b, ip[:2]...)
	}
	if f.V6 {
		b = append(b, 0x60, 0, 0, 0, 0, 20, f.Proto, 64)
		b = append(append(b, f.Src[:]...), f.Dst[:]...)
	} else {
		offset := byte(0)
		if f.Fragment {
			offset = 0x20
		}
		b = append(b, 0x45+byte(f.Options), 0, 0, 40, 0, 0, 0, offset, 64, f.Proto, 0, 0)
		b = append(append(b, f.Src[:4]...), f.Dst[:4]...)
		b = append(b, make([]byte, 4*f.Options)...)
	}
	b = binary.BigEndian.AppendUint16(b, f.Sport)
	b = binary.BigEndian.AppendUint16(b, f.Dport)
	return pad(b, length)
}

func pad(b []byte, length int) []byte {
	return append(b, make([]byte, max(0, length-len(b)))...)
}

// Traffic returns n records of the flows of some hosts, a step apart, some of them cut.
func Traffic(seed uint64, n, hosts int, from time.Time, step time.Duration) []rawfile.Record {
	r := rand.New(rand.NewPCG(seed, 1))
	flows := make([]Flow, 24)
	for i := range flows {
		flows[i] = RandomFlow(r, hosts)
	}
	records := make([]rawfile.Record, n)
	for i := range records {
		if r.IntN(50) == 0 {
			flows[r.IntN(len(flows))] = RandomFlow(r, hosts)
		}
		b := flows[r.IntN(len(flows))].Frame([]int{60, 60, 576, 1514}[r.IntN(4)])
		kept := b
		if r.IntN(8) == 0 {
			kept = b[:r.IntN(min(len(b), 100)+1)]
		}
		records[i] = Record(from.Add(time.Duration(i)*step), kept, len(b))
	}
	return records
}

// Capture reads the records of a pcap file.
func Capture(t testing.TB, path string) []rawfile.Record {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := convert.NewReader(f, capfile.Options{})
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

// Expressions are filters about the hosts and ports of RandomFlow, including those
// that shift the place of addresses.
var Expressions = []string{
	"", "host 10.0.3.21", "src host 10.0.3.21", "dst host 10.0.4.28 and udp port 53", "net 10.0.7.0/24", "net 10.1.0.0/16", "net 10.0.0.0/13",
	"host 10.0.3.21 and host 10.0.4.28", "host 2001:db8:5:0:100::5", "ip6 net 2001:db8:7::/48", "net 2001:db8::/29", "port 5060", "src port 443",
	"portrange 1024-1100", "udp portrange 50-60", "not host 10.0.3.21", "not port 53", "icmp", "sctp", "arp host 10.0.3.21", "ip proto 132",
	"vlan and host 10.0.3.21", "vlan and vlan and host 10.0.4.28", "mpls and host 10.0.3.21", "mpls and mpls and net 10.0.5.0/24", "vlan or host 10.0.3.21",
	"not vlan 7 and host 10.0.3.21", "pppoes and host 10.0.3.21", "pppoes and port 80", "host 203.0.113.9", "port 9", "host 10.0.3.21 or port 9",
	"greater 1000 and host 10.0.3.21", "less 64", "ether[0] & 1 = 1", "ip[8] = 64 and port 80", "tcp[2:2] = 80", "(host 10.0.3.21 or host 10.0.9.63) and not (port 80 or port 443)",
	"ether host 00:00:00:00:00:01 and port 53", "src net 10.0.6.0/26 and dst port 80",
	"inner (host 10.0.3.21)", "host 10.0.3.21 or inner (host 10.0.3.21)", "not inner (tcp) and host 10.0.3.21", "vxlan and host 10.0.3.21", "ip6 protochain 17",
}
