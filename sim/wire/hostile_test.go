package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestHostileFilesDoNotTakeMemoryOrTime(t *testing.T) {
	ng := func(build func(f *ngFile)) []byte {
		f := &ngFile{appender: binary.LittleEndian}
		build(f.section().iface(1, 0).packet(0, 1, 60, repeat(1, 60)))
		return f.b
	}
	huge := classicFile(t, 1)
	binary.LittleEndian.PutUint32(huge[16:], math.MaxUint32) // snaplen
	huge = appendRecord(huge, binary.LittleEndian, 1, 1, 0, math.MaxUint32, 0)
	binary.LittleEndian.PutUint32(huge[24+76+8:], math.MaxUint32)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"frame of 4 GiB":    {huge, "at byte 100: damaged: 4294967295 bytes captured"},
		"ng frame of 4 GiB": {ng(func(f *ngFile) { f.b = append(f.b, f.u32(ngEnhanced, 0xfffffffc, 0, 0, 0, 0xffffffc0, 0xffffffc0)...) }), "packet 2, at byte 140: damaged: a block of"},
		"unknown block":     {ng(func(f *ngFile) { f.b = append(f.b, f.u32(0xbad, 0xfffffffc)...) }), "packet 2, at byte 140: damaged: a block of"},
		"block of no bytes": {ng(func(f *ngFile) { f.b = append(f.b, f.u32(0xbad, 0)...) }), "packet 2, at byte 140: damaged: a block of"},
		"names":             {ng(func(f *ngFile) { f.b = append(f.b, f.u32(ngNames, 0xfffffffc, 1|8<<16, 0)...) }), "packet 2, at byte 140: damaged: a block of 4294967292 bytes"},
		"header":            {(&ngFile{appender: binary.LittleEndian}).u32(ngSection, 0xfffffffc, ngByteOrder, 1, 0, 0), "damaged: a section header of 4294967292 bytes"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readFrames(io.MultiReader(bytes.NewReader(c.data), zeros{}), 0, loading{cut: cutPad, most: maxArena})
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, c.want, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), name, "not the 4 GiB that the file claims")
	}
}

func TestInterfacesWithoutEndAreRefused(t *testing.T) {
	f := &ngFile{appender: binary.LittleEndian}
	f.section()
	for range 1<<16 + 1 {
		f.iface(1, 0)
	}
	_, err := parse(f.packet(0, 1, 60, repeat(1, 60)).b)
	require.ErrorContains(t, err, "damaged: more than 65536 interfaces")
}

func FuzzPcap(f *testing.F) {
	f.Add(classicFile(f, 3), byte(0))
	f.Add(appendRecord(classicFile(f, 1), binary.LittleEndian, 1, 1, 14, 2000, 1), byte(1))
	f.Add(appendRecord(classicFile(f, 1), binary.LittleEndian, 1, 1, 14, 2000, 1), byte(2))
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		n := &ngFile{appender: order}
		n.section().iface(1, 40, n.option(ngOptResol, []byte{0x80 | 31}), n.option(ngOptOffset, make([]byte, 8))).
			packet(0, 99, 70, repeat(1, 66)).block(ngSimple, n.u32(60), repeat(1, 40)).
			block(ngPacket, n.u32(0, 0, 9, 64, 64), repeat(5, 64))
		f.Add(n.b, byte(1))
	}
	f.Add(withFCS(f, [][]byte{make([]byte, 60), make([]byte, 10), make([]byte, 99)}, map[int]bool{1: true}), byte(0x81))
	f.Fuzz(func(t *testing.T, data []byte, cut byte) {
		const most = 1 << 20
		if len(data) > 1<<18 {
			return
		}
		fcs := cut&0x80 != 0
		got, err := readFrames(bytes.NewReader(data), int64(len(data)), loading{cut: cutPolicy(cut & 0x7f % 3), most: most, fcs: fcs})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if len(got.slots) == 0 || len(got.stamps) != len(got.slots) || len(got.arena) > most {
			t.Fatalf("%d frames, %d stamps, %d bytes", len(got.slots), len(got.stamps), len(got.arena))
		}
		least := int32(14)
		if fcs {
			least -= crcSize
		}
		for i, s := range got.slots {
			if s.len < least || s.len > maxFrame || s.off < 0 || s.off+int64(s.len) > int64(len(got.arena)) || got.stamps[i] < 0 {
				t.Fatalf("frame %d: %+v at %d", i, s, got.stamps[i])
			}
		}
		// All loaded frames can be replayed in order.
		for _, r := range []rate{lineRate, {rateRecorded, 0}, {rateBits, 3_333_333_333}, {ratePackets, 3_000_000}} {
			tr, err := newTrain(got, r)
			if err != nil {
				continue
			}
			v := &virtual{}
			w := newReplay(tr, playback{total: int64(len(got.slots)) + 1, burst: time.Second}, v)
			frames := make([]Frame, 16)
			sent := 0
			for last := int64(0); ; v.now = w.next/10 + 1 {
				n, err := w.Receive(frames, plenty)
				if err == io.EOF {
					break
				}
				for _, fr := range frames[:n] {
					if fr.At < last {
						t.Fatalf("frame %d goes back in time", sent)
					}
					last = fr.At
					sent++
				}
			}
			if sent != len(got.slots)+1 {
				t.Fatalf("sent %d of %d", sent, len(got.slots)+1)
			}
		}
	})
}
