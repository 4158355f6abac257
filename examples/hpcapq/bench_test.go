package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/units"
)

// storedSize and storedDir set how much traffic BenchmarkWindow stores, and where. The
// disk needs the size of one file more.
//
//	IXCAP_STORED=20GiB go test -run '^$' -bench Window -benchtime 1x -timeout 1h ./examples/hpcapq
const (
	storedSize    = "IXCAP_STORED"
	storedDir     = "IXCAP_STORED_DIR"
	storedDefault = 2 << 30
)

const (
	clients = 100_000
	servers = 2_000
	active  = 400               // flows at a time
	rate    = 1e9 / 8           // bytes per second
	window  = time.Minute       // of the query, for the 172 s of 20 GiB; in proportion for less
	segment = int64(1024) << 20 // bytes of a file
)

// generator generates the traffic of a link: flows between clients of very different
// activity and servers, most flows short, a few long.
type generator struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	flows [active]genFlow
	frame [1514]byte
	at    float64 // ns since day

	from, to float64      // the window
	packets  [clients]int // in it
}

type genFlow struct {
	client, server int
	sport, dport   uint16
	left           int
}

func newGenerator() *generator {
	g := &generator{r: rand.New(rand.NewPCG(5, 20))}
	g.zipf = rand.NewZipf(g.r, 1.1, 50, clients-1)
	g.frame[12], g.frame[14], g.frame[23] = 8, 0x45, 6
	return g
}

func clientAddr(n int) [4]byte { return [4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)} }

// next returns the next packet; its data is valid until the following call.
func (g *generator) next() rawfile.Record {
	f := &g.flows[g.r.IntN(active)]
	if f.left == 0 {
		*f = genFlow{int(g.zipf.Uint64()), g.r.IntN(servers), uint16(1024 + g.r.IntN(64000)), []uint16{53, 80, 443, 443, 443, 8080}[g.r.IntN(6)], 0}
		f.left = int(min(5/(1-g.r.Float64()), 20_000)) // Pareto, from 5 packets on
	}
	f.left--
	if g.at >= g.from && g.at < g.to {
		g.packets[f.client]++
	}
	c, s := clientAddr(f.client), [4]byte{198, 18, byte(f.server >> 8), byte(f.server)}
	sport, dport, size := f.sport, f.dport, 66
	if g.r.IntN(2) == 0 { // the answer
		c, s, sport, dport, size = s, c, dport, sport, 1514
	} else if g.r.IntN(5) == 0 {
		size = 576
	}
	b := g.frame[:size]
	copy(b[26:], c[:])
	copy(b[30:], s[:])
	binary.BigEndian.PutUint16(b[34:], sport)
	binary.BigEndian.PutUint16(b[36:], dport)
	g.at += float64(size+24) / rate * 1e9
	at := day.Add(time.Duration(g.at))
	return rawfile.Record{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond()), Len: uint16(size), Data: b}
}

// fill stores traffic of a size as a storer does, with sidecars.
func (g *generator) fill(b *testing.B, dir string, size int64) {
	next := g.next()
	for seq := 0; size > 0; seq++ {
		name := filepath.Join(dir, archive.FileName("eth2", 0, next.Time(), seq))
		raw, err := os.Create(name + ".raw")
		require.NoError(b, err)
		side, err := os.Create(name + archive.Index)
		require.NoError(b, err)
		x := index.NewBuilder()
		out := bufio.NewWriterSize(io.MultiWriter(raw, x), rawfile.Block)
		w, err := rawfile.NewWriter(out, min(segment, max(size, rawfile.MinSegment)))
		require.NoError(b, err)
		for w.Fits(len(next.Data)) {
			if err := w.Write(next); err != nil {
				b.Fatal(err)
			}
			next = g.next()
			if _, err := side.Write(x.Encoded()); err != nil {
				b.Fatal(err)
			}
		}
		require.NoError(b, w.Fill())
		require.NoError(b, out.Flush())
		_, err = side.Write(x.Encoded())
		require.NoError(b, err)
		_, err = side.Write(x.Finish(w.Size()))
		require.NoError(b, err)
		require.NoError(b, errors.Join(raw.Sync(), side.Sync()))
		require.NoError(b, errors.Join(raw.Close(), side.Close()))
		size -= w.Size()
	}
}

// dropCache removes the files of a directory from the page cache.
func dropCache(b *testing.B, dir string) {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(b, err)
	for _, name := range names {
		f, err := os.Open(name)
		require.NoError(b, err)
		require.NoError(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		require.NoError(b, f.Close())
	}
}

// BenchmarkWindow measures a query for one client in one minute: hpcapq with its index,
// and for one of the clients tcpdump over the same packets as pcap files, whose
// conversion is not measured. Both are programs that write to a pipe, without page
// cache. "first" is the time to the first packet of the result, for tcpdump too,
// which cannot select a time window.
func BenchmarkWindow(b *testing.B) {
	size := units.Size(storedDefault)
	if text := os.Getenv(storedSize); text != "" {
		require.NoError(b, size.Set(text))
	}
	dir, err := os.MkdirTemp(os.Getenv(storedDir), "hpcapq-bench-")
	require.NoError(b, err)
	defer os.RemoveAll(dir)
	length := time.Duration(float64(size) / rate * 1e9)
	span := min(window, length*3/8)
	from := day.Add((length - span) / 2)
	g := newGenerator()
	g.from = float64(from.Sub(day))
	g.to = g.from + float64(span)
	g.fill(b, dir, int64(size))

	byPackets := make([]int, 0, clients)
	for c, n := range g.packets {
		if n > 0 {
			byPackets = append(byPackets, c)
		}
	}
	slices.SortFunc(byPackets, func(x, y int) int { return cmp.Compare(g.packets[x], g.packets[y]) })
	for _, who := range []struct {
		name string
		at   int  // per mille of the clients in the window have fewer packets there
		dump bool // also with tcpdump
	}{{"median", 500, false}, {"percentile90", 900, true}, {"percentile99", 990, false}, {"busiest", 1000, false}} {
		client := byPackets[min(len(byPackets)*who.at/1000, len(byPackets)-1)]
		filter := "host " + netip.AddrFrom4(clientAddr(client)).String()
		b.Run(who.name, func(b *testing.B) {
			var first, all time.Duration
			for b.Loop() {
				b.StopTimer()
				dropCache(b, dir)
				b.StartTimer()
				first, all, _ = timed(b, from, program(b, "-r", dir, "--from", from.Format(time.RFC3339Nano), "--to", "+"+span.String(), "-f", filter, "-w", "-"))
			}
			b.ReportMetric(first.Seconds()*1e3, "ms-to-first")
			b.ReportMetric(all.Seconds()*1e3, "ms-to-last")
			b.StopTimer()
			s, packets := runStats(b, query.Request{Queue: capture.AllQueues, Filter: compile(b, filter), From: from, To: from.Add(span)}, dir)
			b.ReportMetric(float64(packets), "packets")
			b.ReportMetric(100*float64(s.Read+s.IndexRead)/float64(s.Bytes), "%read")
			if who.dump {
				first, all := dump(b, dir, filter, from)
				b.ReportMetric(first.Seconds()*1e3, "tcpdump-ms-to-first")
				b.ReportMetric(all.Seconds()*1e3, "tcpdump-ms-to-last")
			}
		})
	}
}

func compile(b *testing.B, expr string) *pcapfilter.Filter {
	f, err := pcapfilter.Compile(expr)
	require.NoError(b, err)
	return f
}

// runStats runs a query in this process and returns its statistics.
func runStats(b *testing.B, q query.Request, dir string) (query.Stats, int) {
	s, err := query.Find(q, dir)
	require.NoError(b, err)
	defer s.Close()
	for n := 0; ; n++ {
		if _, err := s.Next(); err == io.EOF {
			require.NoError(b, s.Faults())
			return s.Stats(), n
		}
		require.NoError(b, err)
	}
}

// timed runs a program that writes pcap and returns the time to the first packet not
// before from, the time to the last one, and the number of packets.
func timed(b *testing.B, from time.Time, c *exec.Cmd) (first, all time.Duration, packets int) {
	began := time.Now()
	out, err := c.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, c.Start())
	r, err := convert.NewReader(out, capfile.Options{})
	require.NoError(b, err)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(b, err)
		if packets++; first == 0 && !rec.Time().Before(from) {
			first = time.Since(began)
		}
	}
	require.NoError(b, c.Wait())
	return first, time.Since(began), packets
}

// dump runs tcpdump over each RAW file of a directory as pcap, and returns the time to
// the first packet of the result and for all.
func dump(b *testing.B, dir, filter string, from time.Time) (first, all time.Duration) {
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		b.Skip("needs tcpdump: make tools")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(b, err)
	for _, name := range names {
		pcap := filepath.Join(dir, "x.pcap")
		toPcap(b, name, pcap)
		dropCache(b, dir)
		f, a, _ := timed(b, from, exec.CommandContext(b.Context(), path, "-U", "-n", "-r", pcap, "-w", "-", "--nano", filter))
		if first == 0 && f > 0 {
			first = all + f
		}
		all += a
		require.NoError(b, os.Remove(pcap))
	}
	return first, all
}

func toPcap(b *testing.B, name, pcap string) {
	in, err := os.Open(name)
	require.NoError(b, err)
	defer in.Close()
	out, err := os.Create(pcap)
	require.NoError(b, err)
	w, err := convert.NewWriter(out, pcapfile.Pcap, false)
	require.NoError(b, err)
	_, err = w.Copy(in)
	require.NoError(b, err, fmt.Sprint(name))
	require.NoError(b, w.Flush())
	require.NoError(b, errors.Join(out.Sync(), out.Close()))
}
