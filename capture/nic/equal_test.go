package nic_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
)

// seen is what listeners saw of a capture.
type seen struct {
	packets  [][]stream.Packet // by reader
	stamps   [][]uint64        // of the packets, which no two captures have in common
	segments [][]byte          // without stamps
	ledger   capture.Ledger
}

// captures returns the file in testdata and those beside the checkout.
func captures(t *testing.T) []string {
	t.Helper()
	files := []string{"../../testdata/hosts.pcap"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is played; put pcap files there for more")
	}
	return append(files, more...)
}

// Without a copy, listeners see what they see with one: packets in place and copied, the
// bytes of segments, and the ledger.
func TestRealCapturesAreTheSameWithAndWithoutACopy(t *testing.T) {
	r, err := rules.Parse("(udp) 64\n(tcp) 2100\n(arp) drop")
	require.NoError(t, err)
	files := captures(t)
	for _, c := range []struct {
		name    string
		files   []string
		pool    nic.Config
		capture capture.Config
	}{
		{"whole", files, nic.Config{Chunks: 12, ChunkSize: 64, RingSize: 256}, capture.Config{}},
		{"cut, small buffers", files[:min(3, len(files))], nic.Config{Chunks: 9, ChunkSize: 128, RingSize: 256, BufferSize: 1024}, capture.Config{SnapLen: 1500}},
		{"rules, no duplicates", files[:min(3, len(files))], nic.Config{Chunks: 96}, capture.Config{Rules: r, Dedup: &dedup.Config{Window: time.Hour, Records: 1 << 18, Pools: 16}}},
	} {
		c.capture.Segment, c.capture.Buffer = 1<<20, 16<<20
		for _, file := range c.files {
			t.Run(c.name+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				copied := play(t, file, nic.Config{BufferSize: c.pool.BufferSize}, c.capture)
				placed := play(t, file, c.pool, c.capture)
				require.Equal(t, copied.ledger.Queues[0].StreamBytes, placed.ledger.Queues[0].StreamBytes)
				require.Equal(t, copied.ledger.Queues[0].Duplicates, placed.ledger.Queues[0].Duplicates)
				require.Equal(t, copied.ledger.Queues[0].Filtered, placed.ledger.Queues[0].Filtered)
				require.Equal(t, copied.ledger.Account.Wire, placed.ledger.Account.Wire)
				for i := range copied.packets {
					require.Equal(t, len(copied.packets[i]), len(placed.packets[i]))
					for k := range copied.packets[i] {
						require.Equal(t, copied.packets[i][k], placed.packets[i][k], "packet %d of reader %d", k, i)
					}
				}
				require.Equal(t, len(copied.segments), len(placed.segments))
				for i := range copied.segments {
					require.True(t, string(copied.segments[i]) == string(placed.segments[i]), "segment %d differs", i)
				}
			})
		}
	}
}

// play captures a file that the model plays. Readers of packets, one that copies, and one of
// bytes see it all; that they agree on the stamps is checked here.
func play(t *testing.T, file string, cfg nic.Config, c capture.Config) seen {
	port, err := nic.Open(fmt.Sprintf("sim:pcap=%s,other=skip,backpressure", file), cfg)
	require.NoError(t, err)
	engine, err := capture.New(port, c)
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	const readers = 2
	s := seen{packets: make([][]stream.Packet, readers), stamps: make([][]uint64, readers)}
	errs := make([]error, readers+1)
	var reading sync.WaitGroup
	for i := range readers {
		l, err := engine.Stream(0).Listen(fmt.Sprintf("packets %d", i), stream.Options{})
		require.NoError(t, err)
		reading.Go(func() { errs[i] = s.readPackets(i, l) })
	}
	l, err := engine.Stream(0).Listen("bytes", stream.Options{})
	require.NoError(t, err)
	reading.Go(func() { errs[readers] = s.readSegments(l) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.ledger, err = engine.Run(ctx, 10*time.Second)
	require.NoError(t, err)
	reading.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	s.ledger, err = engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, s.ledger.Balanced())
	require.Zero(t, s.ledger.TotalLost())
	require.NotEmpty(t, s.stamps[0])
	require.Equal(t, s.stamps[0], s.stamps[1])
	require.Equal(t, s.stamps[0], s.maskStamps())
	return s
}

func (s *seen) readPackets(i int, l *stream.Listener) error {
	batch := make([]stream.Packet, 1+i*63)
	for {
		n, err := l.ReadBatch(context.Background(), batch)
		for _, p := range batch[:n] {
			s.stamps[i] = append(s.stamps[i], uint64(p.Sec)|uint64(p.Nsec)<<32)
			p.Sec, p.Nsec, p.Data = 0, 0, append([]byte(nil), p.Data...)
			s.packets[i] = append(s.packets[i], p)
		}
		if err == io.EOF {
			return l.Close()
		}
		if err != nil {
			return err
		}
	}
}

func (s *seen) readSegments(l *stream.Listener) error {
	var segment []byte
	for {
		b, err := l.ReadBlock(context.Background(), 256<<10)
		if err == io.EOF {
			s.segments = append(s.segments, segment)
			return l.Close()
		}
		if err != nil {
			return err
		}
		if segment = append(segment, b...); l.SegmentEnd() {
			s.segments, segment = append(s.segments, segment), nil
		}
		if err := l.Consume(len(b)); err != nil {
			return err
		}
	}
}

// maskStamps removes the stamps of the records in the segments, and returns those that are
// not of padding.
func (s *seen) maskStamps() (stamps []uint64) {
	for _, b := range s.segments {
		for len(b) > 0 {
			if stamp := binary.LittleEndian.Uint64(b); stamp != 0 {
				stamps = append(stamps, stamp)
				binary.LittleEndian.PutUint64(b, 1)
			}
			b = b[stream.RecordHeader+int(binary.LittleEndian.Uint16(b[8:])):]
		}
	}
	return stamps
}
