package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/sim/wire"
)

// traffic is one of the three traffics of the thesis.
type traffic struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Wire   string `json:"wire"`   // options of the model's wire
	Frames int    `json:"frames"` // of a run
	Bytes  int64  `json:"bytes"`
}

const (
	lineBits   = 10e9
	overhead   = 8 + 4 + 12 // preamble, CRC, gap
	thesisBits = 564e6      // bit/s of the thesis's trace at its original speed
	longFrame  = 1514
	wirePart   = 4 // a trace at wire speed runs for this part of the time of the others: it has more frames
	maxFrames  = 40_000_000
)

func lineTime(frames, bytes int64) time.Duration {
	return time.Duration(float64(bytes+overhead*frames) * 8 / lineBits * 1e9)
}

// traffics returns the three traffics, each for about the time long: frames of 1514
// bytes at line rate, a trace at line rate, and the trace with its own gaps. It writes
// the trace that is sent to dir.
func traffics(trace, dir string, long time.Duration) ([]traffic, string, error) {
	t, err := readTrace(trace)
	if err != nil {
		return nil, "", err
	}
	paced := filepath.Join(dir, "paced.pcap")
	description, err := t.write(paced, thesisBits)
	if err != nil {
		return nil, "", err
	}
	count := max(2, int(long/lineTime(1, longFrame)))
	fast := t.rounds(lineTime(int64(len(t.frames)), t.bytes), long/wirePart)
	slow := t.rounds(t.took, long)
	list := []traffic{
		{
			Name: "1514", Title: "1514-byte frames at line rate",
			Wire:   fmt.Sprintf("gen,size=%d,rate=line,count=%d", longFrame, count),
			Frames: count, Bytes: int64(count) * longFrame,
		}, {
			Name: "wire", Title: "trace at wire speed",
			Wire:   fmt.Sprintf("pcap=%s,rate=line,loop=%d", wire.Quote(paced), fast),
			Frames: fast * len(t.frames), Bytes: int64(fast) * t.bytes,
		}, {
			Name: "original", Title: "trace with its own gaps",
			Wire:   fmt.Sprintf("pcap=%s,rate=recorded,loop=%d", wire.Quote(paced), slow),
			Frames: slow * len(t.frames), Bytes: int64(slow) * t.bytes,
		},
	}
	for _, l := range list {
		if l.Frames > maxFrames {
			return nil, "", fmt.Errorf("%s: %d frames in a run: at most %d fit into memory. Choose a shorter --duration", l.Title, l.Frames, maxFrames)
		}
	}
	return list, description, nil
}

// trace is a capture file in memory.
type trace struct {
	name   string
	frames [][]byte
	at     []time.Duration // since the first, never decreasing
	bytes  int64           // without CRC
	took   time.Duration   // duration of the trace written last
}

func readTrace(name string) (*trace, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{Strict: true})
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w. Use a pcap file or a pcapng file", name, err)
	}
	defer r.Close()
	t := &trace{name: name}
	var first int64
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("trace %s: %w", name, err)
		}
		// The bytes that the capture cut were on the wire.
		data := make([]byte, p.Len)
		copy(data, p.Data)
		if p.Number == 1 {
			first = p.Nano
		}
		at := time.Duration(p.Nano - first)
		if n := len(t.at); n > 0 {
			at = max(at, t.at[n-1])
		}
		t.frames, t.at, t.bytes = append(t.frames, data), append(t.at, at), t.bytes+int64(len(data))
	}
	if len(t.frames) < 2 || t.at[len(t.at)-1] == 0 {
		return nil, fmt.Errorf("trace %s: fewer than two frames with different times. Choose another trace", name)
	}
	return t, nil
}

// write writes the trace with all gaps scaled so that its mean rate becomes bits a
// second. A trace that is as fast or faster keeps its gaps. It returns a description.
func (t *trace) write(name string, bits float64) (description string, err error) {
	n := len(t.at)
	own := t.at[n-1]
	ownBits := float64(t.bytes) * 8 / own.Seconds()
	factor := 1.0
	description = fmt.Sprintf("%s: %d frames, %d bytes, recorded at %.3g Mb/s", filepath.Base(t.name), n, t.bytes, ownBits/1e6)
	if ownBits < bits {
		factor = ownBits / bits
		description += fmt.Sprintf("; all gaps divided by %.4g for the thesis's %.0f Mb/s", 1/factor, bits/1e6)
	}
	t.took = time.Duration(float64(own) * factor)
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := pcapfile.NewWriter(f, pcapfile.Encoder{Format: pcapfile.Pcap, Interface: pcapfile.Interface{Snaplen: 1 << 18}}, 0)
	if err != nil {
		return "", err
	}
	for i, data := range t.frames {
		at := time.Unix(1_700_000_000, 0).Add(time.Duration(float64(t.at[i]) * factor))
		if err := w.Write(&pcapfile.Packet{Nano: at.UnixNano(), Len: uint32(len(data)), Data: data}); err != nil {
			return "", err
		}
	}
	return description, w.Flush()
}

// rounds returns how often a trace of duration each is sent within the time long.
func (t *trace) rounds(each, long time.Duration) int {
	return max(1, int((long+each/2)/max(each, 1)))
}
