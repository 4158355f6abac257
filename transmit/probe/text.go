package probe

import (
	"fmt"
	"io"
)

// WriteText writes the reports of the streams: a figure, a unit and what it is on each
// line.
func (a *Analyzer) WriteText(w io.Writer) error {
	var err error
	line := func(figure any, unit, what string) {
		if f, ok := figure.(float64); ok {
			figure = fmt.Sprintf("%.1f", f)
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%12v  %-8s  %s\n", figure, unit, what)
		}
	}
	if a.unmarked > 0 {
		line(a.unmarked, "frames", "without a mark of pktgen")
	}
	for _, r := range a.Reports() {
		line(r.Frames, "frames", fmt.Sprintf("received of stream %d, sequence numbers %d to %d", r.Stream, r.FirstSeq, r.LastSeq))
		line(r.Lost, "frames", "  lost between these")
		line(r.Reordered, "frames", "  reordered (RFC 4737)")
		if r.Reordered > 0 {
			line(r.MaxExtent, "frames", "    behind the newest, at most")
		}
		line(r.Duplicates, "frames", "  duplicates")
		if r.Duration > 0 {
			line(fmt.Sprintf("%.6g", 1e9/r.MeanGap), "frames/s", "  mean rate")
		}
		line(r.MinDelay, "ns", "  one-way delay, least (clocks of the two hosts)")
		line(r.MeanDelay, "ns", "    mean")
		line(r.StdDevDelay, "ns", "    standard deviation")
		line(r.MedianDelay, "ns", "    median")
		line(r.P99Delay, "ns", "    99th percentile")
		line(r.P999Delay, "ns", "    99.9th percentile")
		line(r.MaxDelay, "ns", "    largest")
		line(r.Jitter, "ns", "  jitter (RFC 3550)")
		line(r.MeanVariation, "ns", "  difference of the delays of successive frames, mean amount (RFC 3393)")
	}
	return err
}
