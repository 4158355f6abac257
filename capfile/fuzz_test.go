package capfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

// seeds are small files of all kinds.
func seeds(t testing.TB) (files [][]byte) {
	for _, o := range orders {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0x1c0001ac, 0x1c0001ab} {
			files = append(files, oldFile(o, magic, 2, 3))
		}
		f := newNG(o)
		f.iface(1, 70, f.option(2, []byte("eth0")...), f.option(9, 0x80|31), f.option(13, 4), f.option(14, make([]byte, 8)...)).iface(101, 0)
		f.packet(0, 99, 70, frame(1, 66), f.option(1, []byte("text")...), f.option(2, 0x80, 0, 0, 0), f.option(4, make([]byte, 8)...))
		f.packet(1, 99, 70, frame(1, 66))
		f.block(3, f.words(60), frame(2, 60)).block(2, f.words(0, 0, 9, 64, 64), frame(3, 64)).block(0x99, []byte("x"))
		f.block(5, f.words(0, 0, 0), f.option(4, make([]byte, 8)...))
		files = append(files, f.b, f.section().iface(1, 0).b)
	}
	for _, compress := range compressors(t) {
		files = append(files, compress(files[0]), compress(files[5]))
	}
	return files
}

// check reads a file and examines what every file must keep.
func check(t testing.TB, file []byte, o capfile.Options) {
	r, err := capfile.NewReader(bytes.NewReader(file), o)
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Fatalf("error of several lines: %q", err)
		}
		return
	}
	defer r.Close()
	var delivered, last uint64
	for {
		p, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				t.Fatalf("%v, then %v", err, again)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			break
		}
		delivered++
		i := r.Interfaces()[p.Interface]
		if len(p.Data) > int(p.Len) || p.Number <= last || !i.Selected || p.NoStamp && p.Nano != 0 {
			t.Fatalf("packet %+v of %+v after %d", p, i, last)
		}
		last = p.Number
	}
	if delivered != r.Delivered() {
		t.Fatalf("%d delivered, %d counted", delivered, r.Delivered())
	}
	_, err = r.Next()
	if errors.As(err, new(*capfile.StrictError)) && !o.Strict {
		t.Fatalf("%v without strict", err)
	}
	balance := delivered + r.LeftOut()
	for _, c := range r.Counts() {
		if c.N == 0 || strings.Contains(c.String(), "\n") {
			t.Fatalf("count %+v", c)
		}
		if c.Cause == capfile.NotSelected {
			balance += c.N
		}
	}
	if err == io.EOF && balance != r.Packets() {
		t.Fatalf("%d packets, %d delivered or counted", r.Packets(), balance)
	}
}

func FuzzReader(f *testing.F) {
	for i, file := range seeds(f) {
		f.Add(file, byte(i))
	}
	f.Fuzz(func(t *testing.T, file []byte, options byte) {
		if len(file) > 1<<18 {
			return
		}
		o := capfile.Options{KeepFCS: options&1 != 0, Strict: options&2 != 0}
		if options&4 != 0 {
			o.Select = func(i *capfile.Interface) bool { return i.Number != 0 }
		}
		check(t, file, o)
	})
}

// Every cut and every flipped bit of every kind of file ends in packets or one error.
func TestCutAndFlippedFiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	every := capfile.Options{Select: func(*capfile.Interface) bool { return true }}
	for _, file := range seeds(t) {
		for cut := range file {
			check(t, file[:cut], capfile.Options{})
		}
		for at := range file {
			bad := bytes.Clone(file)
			bad[at] ^= 1 << random.IntN(8)
			check(t, bad, every)
		}
		for range 100 {
			bad := bytes.Clone(file)
			for range 1 + random.IntN(8) {
				bad[random.IntN(len(bad))] = byte(random.Uint32())
			}
			check(t, bad, capfile.Options{Strict: random.IntN(2) == 0})
		}
	}
}

func BenchmarkReader(b *testing.B) {
	file := oldHeader(binary.LittleEndian, 0xa1b23c4d, 2, 4, 1)
	f := newNG(binary.LittleEndian).iface(1, 0)
	const packets = 10000
	for i := range uint32(packets) {
		file = append(u32(file, binary.LittleEndian, i, i, 60, 60), frame(1, 60)...)
		f.packet(0, uint64(i), 60, frame(1, 60))
	}
	for name, data := range map[string][]byte{"pcap": file, "pcapng": f.b} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := capfile.NewReader(bytes.NewReader(data), capfile.Options{})
				require.NoError(b, err)
				for err == nil {
					_, err = r.Next()
				}
				r.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
		})
	}
}
