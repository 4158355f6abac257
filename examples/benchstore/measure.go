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

// row is the median of a measure's rounds.
type row struct {
	Name        string  `json:"name"`
	GBps        float64 `json:"gbps"` // 1e9 bytes stored a second
	Least, Most float64 // of the rounds
	Target      float64 `json:"target,omitempty"`
	CPU         float64 `json:"cpu_s_per_gb"`
	Storing     float64 `json:"storing_cpu_s_per_gb,omitempty"` // of that, what goes away when nothing is stored
	Lagging     int     `json:"without_sidecar,omitempty"`      // files, over all rounds
}

// result is one round of a measure.
type result struct {
	bytes   uint64
	took    time.Duration
	cpu     time.Duration
	lagging int
}

func (r result) rate() float64 { return float64(r.bytes) / float64(r.took.Nanoseconds()) }

func (r result) perGB() float64 { return r.cpu.Seconds() / (float64(r.bytes) / 1e9) }

// measured is something that is measured: what it stores in a folder, and where.
type measured struct {
	name string
	size int    // of the frames; 0: none
	null string // the measure of the same without storing; "": none
	run  func(dir string) (result, error)
}

// lineRate is what 10 GbE at line rate leaves to be stored of frames of a size in
// bytes without CRC, in GB/s: a record for each 24 bytes more on the wire.
func lineRate(size int) float64 {
	return 1.25 * float64(size+rawfile.HeaderLen) / float64(size+24)
}

// measure takes all measures in turn, round by round.
func measure(o options, progress io.Writer) ([]row, error) {
	all := []measured{{name: "raw", run: func(dir string) (result, error) { return raw(o, dir) }}}
	for _, size := range []int{1514, 60} {
		null := fmt.Sprintf("null %d", size)
		all = append(all,
			measured{name: fmt.Sprintf("stream %d", size), size: size, null: null, run: func(dir string) (result, error) { return chain(o, dir, size) }},
			measured{name: null, run: func(string) (result, error) { return chain(o, "", size) }})
	}
	if o.model {
		for _, size := range []int{1514, 60} {
			all = append(all, measured{name: fmt.Sprintf("model %d", size), size: size, run: func(dir string) (result, error) { return whole(o, dir, size) }})
		}
	}
	results := map[string][]result{}
	for round := range o.rounds {
		for i := range all {
			m := all[(i+round)%len(all)] // whatever follows what is another one each time
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
			unix.Sync() // what deleting costs is nobody's
			results[m.name] = append(results[m.name], r)
			fmt.Fprintf(progress, "round %d of %d: %s %.3f GB/s\n", round+1, o.rounds, m.name, r.rate())
		}
	}
	return rows(all, results), nil
}

// rows are the medians.
func rows(all []measured, results map[string][]result) (out []row) {
	for _, m := range all {
		rs := results[m.name]
		rates, lagging := values(rs, result.rate), 0
		for _, r := range rs {
			lagging += r.lagging
		}
		r := row{Name: m.name, GBps: median(rates), Least: slices.Min(rates), Most: slices.Max(rates), CPU: median(values(rs, result.perGB)), Lagging: lagging}
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

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// timed measures what f stores.
func timed(f func() (bytes uint64, lagging int, err error)) (r result, err error) {
	began, used := time.Now(), cpu()
	r.bytes, r.lagging, err = f()
	r.took, r.cpu = time.Since(began), cpu()-used
	return r, err
}
