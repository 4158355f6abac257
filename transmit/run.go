package transmit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/pci"
)

// recorded is the number of frames whose spacing is measured.
const recorded = 1 << 20

// Report is what was sent, and how evenly.
type Report struct {
	Device  string
	Method  Method
	Frames  uint64
	Bytes   uint64 // without CRC
	Fillers uint64
	Dry     uint64 // times that the line ran dry between filler frames
	Lost    uint64 // discarded by a reset of the device, those with a wrong CRC too
	Elapsed time.Duration
	Speed   float64 // of the line, bits a second

	// Spacing of each queue. Empty if the device does not record when it sends.
	Spacing []Spacing

	limited bool // the rate limiter has the rate
	// By rate limiter: frames that the device could have sent before the program posted
	// them, and the time for which it waited for them.
	Late     uint64
	LateTime time.Duration
}

// Run sends the frames of sources, each through a queue of its own, until all have ended
// or ctx is done, waits until the device has sent them, and measures their spacing.
func (p *Port) Run(ctx context.Context, cfg Config, sources ...Source) (Report, error) {
	r := Report{Device: p.port.Name(), Method: cfg.Method, Speed: p.Speed()}
	r.limited = cfg.Method == Limiter && cfg.Rate > 0
	cfg.Record = recorded / len(sources)
	p.Record(recorded)
	results, errs := make([]Result, len(sources)), make([]error, len(sources))
	var running sync.WaitGroup
	log := slog.New(slog.DiscardHandler)
	sched.AddPollers(log, len(sources))
	defer sched.RemovePollers(len(sources))
	start := time.Now()
	for i, src := range sources {
		running.Go(func() { results[i], errs[i] = p.NewSender(i, cfg).Run(ctx, src) })
	}
	running.Wait()
	r.Elapsed = time.Since(start)
	err := errors.Join(errs...)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil // it was told to end
	}
	for i := range results {
		r.Frames += results[i].Frames
		r.Bytes += results[i].Bytes
		r.Fillers += results[i].Fillers
		r.Dry += results[i].Dry
	}
	p.posted += r.Frames + r.Fillers
	if err == nil {
		r.Lost, err = p.Drain(p.posted)
	}
	for i := range results {
		if r.Lost > 0 {
			break // which of them were sent is not known
		}
		r.compare(results[i].Asked, p.Sent(i), p.ps)
	}
	return r, err
}

// compare adds what the device recorded of a queue. A byte takes ps of the line.
func (r *Report) compare(asked []int64, sent []pci.SentFrame, ps int64) {
	first := make([]int64, len(sent)) // when the first bit left
	for i, f := range sent {
		first[i] = f.At - int64(max(f.Len, minFrame)+lineOverhead-lineGap)*ps/1000
		if f.Late > 0 && r.limited {
			r.Late++
			r.LateTime += time.Duration(f.Late)
		}
	}
	if s := Compare(asked, first); s.Frames > 0 {
		r.Spacing = append(r.Spacing, s)
	}
}

// WriteText writes the report: a figure, a unit and what it is on each line.
func (r *Report) WriteText(w io.Writer) error {
	var err error
	line := func(figure, unit, what string) {
		if err == nil {
			_, err = fmt.Fprintf(w, "%12s  %-8s  %s\n", figure, unit, what)
		}
	}
	line(fmt.Sprint(r.Frames), "frames", "sent to "+r.Device)
	line(fmt.Sprint(r.Bytes), "bytes", "sent, without CRC")
	if r.Method == Filler {
		line(fmt.Sprint(r.Fillers), "frames", "with a wrong CRC between them")
		if r.Dry > 0 {
			line(fmt.Sprint(r.Dry), "times", "the line ran dry: the program was late")
		}
	}
	if r.Late > 0 {
		line(fmt.Sprint(r.Late), "frames", fmt.Sprintf("posted late: the device waited for the program for %v", r.LateTime.Round(time.Microsecond)))
	}
	if r.Lost > 0 {
		line(fmt.Sprint(r.Lost), "frames", "lost of these, by a reset of the device")
	}
	line(fmt.Sprintf("%.3f", r.Elapsed.Seconds()), "s", "sending")
	if len(r.Spacing) == 0 {
		if r.Frames > 1 && r.Lost == 0 && err == nil {
			_, err = fmt.Fprintln(w, "the spacing is not known: the device does not record when it sends. Capture at the receiver; pktgen analyze reports on frames of pktgen")
		}
		return err
	}
	for i, s := range r.Spacing {
		of := ""
		if len(r.Spacing) > 1 {
			of = fmt.Sprintf(" of queue %d", i)
		}
		line(fmt.Sprint(s.Frames), "frames", "compared with the line's own clock"+of+", by "+r.Method.String())
		line(fmt.Sprintf("%.6g", s.Achieved), "frames/s", "achieved")
		line(fmt.Sprintf("%.6g", s.Asked), "frames/s", "asked for")
		if s.Asked > 0 {
			line(fmt.Sprintf("%+.4f", (s.Achieved/s.Asked-1)*100), "%", "difference of the rate")
		}
		line(fmt.Sprintf("%.1f", s.Mean), "ns", "error of the spacing, mean")
		line(fmt.Sprintf("%.1f", s.StdDev), "ns", "error of the spacing, standard deviation")
		line(fmt.Sprintf("%.1f", s.Median), "ns", "error of the spacing, median of its amount")
		line(fmt.Sprintf("%.1f", s.P999), "ns", "error of the spacing, 99.9th percentile of its amount")
		line(fmt.Sprintf("%.1f", s.Max), "ns", "error of the spacing, largest")
	}
	return err
}
