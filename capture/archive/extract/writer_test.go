package extract_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/extract"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/query"
)

// outputs are files in memory.
type outputs struct {
	names     []string
	files     map[string]*file
	committed int
	fail      int // number of the file that cannot be created; 0: none
}

type file struct {
	bytes.Buffer
	all  *outputs
	done bool
	full bool // writes fail
}

func (f *file) Write(b []byte) (int, error) {
	if f.full {
		return 0, errors.New("disk is full")
	}
	return f.Buffer.Write(b)
}

func (f *file) Commit() error {
	f.done = true
	f.all.committed++
	return nil
}

func (f *file) Close() error { return nil }

func (o *outputs) create(name string) (extract.Output, error) {
	if o.fail != 0 && len(o.names)+1 == o.fail {
		return nil, errors.New("file exists")
	}
	f := &file{all: o}
	if o.files == nil {
		o.files = map[string]*file{}
	}
	o.names, o.files[name] = append(o.names, name), f
	return f, nil
}

// read returns the packets of a file and the names of their interfaces.
func (o *outputs) read(t *testing.T, name string) (packets []capfile.Packet, names []string) {
	r, err := capfile.NewReader(&o.files[name].Buffer, capfile.Options{})
	require.NoError(t, err)
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			return packets, names
		}
		require.NoError(t, err)
		p.Data = bytes.Clone(p.Data)
		packets, names = append(packets, p), append(names, r.Interfaces()[p.Interface].Name)
	}
}

func packet(s *query.Source, nano int64, n int) *query.Packet {
	return &query.Packet{Packet: pcapfile.Packet{Nano: nano, Len: uint32(n), Data: bytes.Repeat([]byte{byte(nano)}, n)}, Source: s}
}

func TestEachPartDescribesItsInterfaces(t *testing.T) {
	var o outputs
	w, err := extract.New(extract.Config{Name: "a.b.pcapng", Format: pcapfile.Pcapng, Packets: 4, Create: o.create})
	require.NoError(t, err)
	sources := []*query.Source{{Name: "x:0"}, {Name: "x:1"}, {Name: "y:0"}}
	var want []string
	for i := range 10 {
		s := sources[i*i%3]
		want = append(want, s.Name)
		require.NoError(t, w.Write(packet(s, int64(i), 60+i)))
	}
	require.NoError(t, w.Finish())
	require.Equal(t, []string{"a.b-000000.pcapng", "a.b-000001.pcapng", "a.b-000002.pcapng"}, o.names)
	require.Equal(t, 3, w.Parts())
	var got []string
	nano := int64(0)
	for _, name := range o.names {
		packets, names := o.read(t, name)
		got = append(got, names...)
		for _, p := range packets {
			require.Equal(t, nano, p.Nano)
			nano++
		}
	}
	require.Equal(t, want, got)
	require.Equal(t, 3, o.committed)
}

func TestStampsThatAFormatCannotHoldAreLeftOutAndCounted(t *testing.T) {
	for format, kept := range map[pcapfile.Format]int{pcapfile.Pcap: 2, pcapfile.Pcapng: 3} {
		var o outputs
		w, err := extract.New(extract.Config{Name: "a.pcap", Format: format, Create: o.create})
		require.NoError(t, err)
		s := &query.Source{Name: "x"}
		for _, nano := range []int64{-1, 0, 1<<32*1e9 - 1, 1 << 32 * 1e9} {
			require.NoError(t, w.Write(packet(s, nano, 60)))
		}
		require.ErrorContains(t, w.Finish(), fmt.Sprintf("%d packet", 4-kept))
		packets, _ := o.read(t, "a.pcap")
		require.Len(t, packets, kept)
	}
}

func TestPacketsAreCutToTheSnapshotLength(t *testing.T) {
	for snap, want := range map[int]int{0: extract.Snaplen, 100: 100} {
		var o outputs
		w, err := extract.New(extract.Config{Name: "a.pcapng", Format: pcapfile.Pcapng, Snaplen: snap, Create: o.create})
		require.NoError(t, err)
		require.NoError(t, w.Write(packet(&query.Source{Name: "x"}, 1, 300<<10)))
		require.NoError(t, w.Finish())
		packets, _ := o.read(t, "a.pcapng")
		require.Len(t, packets[0].Data, want)
		require.EqualValues(t, 300<<10, packets[0].Len)
	}
}

func TestResultWithoutPacketsIsAFileAndAFileThatExistsEndsTheOutput(t *testing.T) {
	var o outputs
	w, err := extract.New(extract.Config{Name: "a.pcap", Format: pcapfile.Pcap, Create: o.create})
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.NoError(t, w.Finish())
	require.Equal(t, 24, o.files["a.pcap"].Len())

	o = outputs{fail: 1}
	_, err = extract.New(extract.Config{Name: "a.pcap", Format: pcapfile.Pcap, Create: o.create})
	require.ErrorContains(t, err, "file exists")
	o = outputs{fail: 2}
	w, err = extract.New(extract.Config{Name: "a.pcap", Format: pcapfile.Pcap, Size: 100, Create: o.create})
	require.NoError(t, err)
	require.NoError(t, w.Write(packet(&query.Source{Name: "x"}, 1, 1000)), "longer than a file")
	require.ErrorContains(t, w.Write(packet(&query.Source{Name: "x"}, 2, 10)), "file exists")
	require.Equal(t, 1, o.committed, "the whole part stays")
	require.NoError(t, w.Close())
}

// A file that lacks a part of its packets does not get its name, whatever is called later.
func TestFileOfAFailedWriteIsNotCommitted(t *testing.T) {
	s := &query.Source{Name: "x"}
	for name, write := range map[string]func(w *extract.Writer) error{
		"at a flush": (*extract.Writer).Flush,
		"of a packet": func(w *extract.Writer) (err error) {
			for i := 0; err == nil && i < 100; i++ {
				err = w.Write(packet(s, 2, 200_000))
			}
			return err
		},
		"at the end":       (*extract.Writer).Finish,
		"of a second part": func(w *extract.Writer) error { return w.Write(packet(s, 2, 200_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			var o outputs
			cfg := extract.Config{Name: "a.pcapng", Format: pcapfile.Pcapng, Create: o.create}
			if name == "of a second part" {
				cfg.Packets = 1
			}
			w, err := extract.New(cfg)
			require.NoError(t, err)
			require.NoError(t, w.Write(packet(s, 1, 200_000)))
			for _, f := range o.files {
				f.full = true
			}
			require.ErrorContains(t, write(w), "disk is full")
			for _, f := range o.files {
				f.full = false
			}
			if name != "at the end" {
				require.ErrorContains(t, w.Flush(), "disk is full")
				require.ErrorContains(t, w.Write(packet(s, 4, 60)), "disk is full")
			}
			require.NoError(t, w.Finish(), "the error is known")
			require.NoError(t, w.Close())
			require.Zero(t, o.committed)
		})
	}
}

func TestOutputThatCannotBeCreatedHasNoWriter(t *testing.T) {
	o := outputs{fail: 1}
	w, err := extract.New(extract.Config{Name: "a.pcap", Format: pcapfile.Pcap, Create: o.create})
	require.ErrorContains(t, err, "file exists")
	require.Nil(t, w)
}

// The counters of pcapng inputs, and the uncertainty of their stamps, are in the output.
func TestStatisticsOfInputsArePassedOn(t *testing.T) {
	dir := t.TempDir()
	enc := pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: pcapfile.Interface{Name: "eth2"}}
	for q, us := range []int{100, 300} {
		b := enc.Header(nil)
		for i := range 4 {
			b = enc.Packet(b, &pcapfile.Packet{Nano: int64(1000*i + q), Len: 60, Data: make([]byte, 60)})
		}
		b = enc.Statistics(b, &pcapfile.Statistics{Port: true, Received: 104, Dropped: 100, Uncertainty: time.Duration(us) * time.Microsecond})
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("q%d.pcapng", q)), b, 0o600))
	}
	convert := func(path string) (query.Order, *outputs) {
		var o outputs
		r, err := query.Find(query.Request{Queue: capture.AllQueues}, path)
		require.NoError(t, err)
		defer r.Close()
		w, err := extract.New(extract.Config{Name: "a.pcapng", Format: pcapfile.Pcapng, Uncertainty: r.Uncertainty, Create: o.create})
		require.NoError(t, err)
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			require.NoError(t, w.Write(p))
		}
		require.NoError(t, w.Finish())
		require.NoError(t, r.Faults())
		return r.Order(), &o
	}
	order, o := convert(dir)
	require.Equal(t, query.Order{Sources: 2, Bound: 400 * time.Microsecond}, order)
	out := o.files["a.pcapng"].Bytes()
	again := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(again, "a.pcapng"), out, 0o600))
	r, err := capfile.NewReader(bytes.NewReader(out), capfile.Options{})
	require.NoError(t, err)
	defer r.Close()
	for err == nil {
		_, err = r.Next()
	}
	require.Equal(t, io.EOF, err)
	require.Len(t, r.Interfaces(), 2)
	for i, text := range []string{"100µs", "300µs"} {
		s := r.Interfaces()[i].Stats
		require.NotNil(t, s)
		require.EqualValues(t, 100, *s.Dropped)
		require.EqualValues(t, 104, *s.Received)
		require.Equal(t, "timestamps at most "+text+" from arrival", s.Comment)
	}
	order, _ = convert(again)
	require.Equal(t, query.Order{Sources: 2, Bound: 400 * time.Microsecond}, order)
}
