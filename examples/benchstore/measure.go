package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// row holds the medians of a measurement's rounds. A GB is 1e9 bytes.
type row struct {
	Name      string  `json:"name"`
	GBps      float64 `json:"gb_per_s"` // stored
	Least     float64 `json:"min_gb_per_s"`
	Most      float64 `json:"max_gb_per_s"`
	Target    float64 `json:"target_gb_per_s,omitempty"`
	CPU       float64 `json:"cpu_s_per_gb"`
	Storing   float64 `json:"storing_cpu_s_per_gb,omitempty"` // CPU minus that of the same without storing
	Unindexed int     `json:"unindexed_files,omitempty"`      // of all rounds
}

// result is one round of a measurement.
type result struct {
	bytes     uint64
	duration  time.Duration
	cpu       time.Duration
	unindexed int
}

// rate returns GB/s.
func (r result) rate() float64 { return float64(r.bytes) / float64(r.duration.Nanoseconds()) }

// perGB returns the processor time in s/GB.
func (r result) perGB() float64 { return r.cpu.Seconds() / (float64(r.bytes) / 1e9) }

// measurement stores data in a directory.
type measurement struct {
	name string
	size int    // of the frames in bytes; 0: no frames
	null string // name of the same measurement without storing; "": none
	run  func(dir string) (result, error)
}

// lineRate returns the GB/s stored at 10 GbE line rate for frames of a size in bytes
// without CRC: a record with its header per frame of size + 24 bytes on the wire.
func lineRate(size int) float64 {
	return 1.25 * float64(size+rawfile.HeaderLen) / float64(size+24)
}

// measure runs all measurements, round by round.
func measure(o options, progress io.Writer) ([]row, error) {
	all := []measurement{{name: "raw", run: func(dir string) (result, error) { return raw(o, dir) }}}
	for _, size := range []int{1514, 60} {
		null := fmt.Sprintf("null %d", size)
		all = append(all,
			measurement{name: fmt.Sprintf("stream %d", size), size: size, null: null, run: func(dir string) (result, error) { return chain(o, dir, size) }},
			measurement{name: null, run: func(string) (result, error) { return chain(o, "", size) }})
	}
	if o.model {
		for _, size := range []int{1514, 60} {
			all = append(all, measurement{name: fmt.Sprintf("model %d", size), size: size, run: func(dir string) (result, error) { return model(o, dir, size) }})
		}
	}
	results := map[string][]result{}
	for round := range o.rounds {
		for i := range all {
			m := all[(i+round)%len(all)] // in another order each round
			dir := filepath.Join(o.dir, "files")
			if err := os.Mkdir(dir, 0o755); err != nil {
				return nil, err
			}
			r, err := m.run(dir)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
			unix.Sync() // so that deletion is not measured
			results[m.name] = append(results[m.name], r)
			fmt.Fprintf(progress, "round %d of %d: %s %.3f GB/s\n", round+1, o.rounds, m.name, r.rate())
		}
	}
	return rows(all, results), nil
}

// rows returns the medians of each measurement.
func rows(all []measurement, results map[string][]result) (out []row) {
	for _, m := range all {
		rs := results[m.name]
		rates, unindexed := values(rs, result.rate), 0
		for _, r := range rs {
			unindexed += r.unindexed
		}
		r := row{Name: m.name, GBps: median(rates), Least: slices.Min(rates), Most: slices.Max(rates), CPU: median(values(rs, result.perGB)), Unindexed: unindexed}
		if m.size > 0 {
			r.Target = min(median(values(results["raw"], result.rate)), lineRate(m.size))
		}
		if m.null != "" {
			r.Storing = r.CPU - median(values(results[m.null], result.perGB))
		}
		out = append(out, r)
	}
	return out
}

func values(rs []result, of func(result) float64) (all []float64) {
	for _, r := range rs {
		all = append(all, of(r))
	}
	return all
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// timed measures f, which returns the bytes it stored and the files without index.
func timed(f func() (bytes uint64, unindexed int, err error)) (r result, err error) {
	start, used := time.Now(), cpu()
	r.bytes, r.unindexed, err = f()
	r.duration, r.cpu = time.Since(start), cpu()-used
	return r, err
}
