package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture"
)

// program is one that captures to files.
type program struct {
	name   string
	args   func(dir string) []string
	ledger bool // its output is a ledger
}

// programs are those that are compared, as their users start them. hpcapdd sleeps while no
// frames arrive, as the others do.
func programs(hpcapdd string) []program {
	ours := func(device string) func(string) []string {
		return func(dir string) []string {
			return []string{hpcapdd, "-i", device, "-w", dir, "--sleep", "--no-index", "--json"}
		}
	}
	return []program{
		{"hpcapdd packet", ours("packet:" + to + ",timeout=100"), true},
		{"hpcapdd xdp", ours("xdp:" + to), true},
		{"tcpdump", func(dir string) []string {
			return []string{"tcpdump", "-n", "-i", to, "-w", filepath.Join(dir, "o.pcap")}
		}, false},
		{"dumpcap", func(dir string) []string {
			return []string{"dumpcap", "-q", "-i", to, "-w", filepath.Join(dir, "o.pcapng")}
		}, false},
		{"netsniff-ng", func(dir string) []string {
			return []string{"netsniff-ng", "-s", "-i", to, "-o", filepath.Join(dir, "o.pcap")}
		}, false},
	}
}

// bench runs programs beside the sender.
type bench struct {
	options
	wire *wire
	dir  string
}

// result is what one run of a program gave.
type result struct {
	program    program
	sent, lost int
	rate       float64 // packets per second
	perPacket  float64 // ns of CPU time
	err        error
}

// cpu measures CPU time, in rounds, and returns the medians.
func (b *bench) cpu(all []program) []result {
	rounds := make([][]result, len(all))
	for range b.rounds {
		for i, p := range all {
			rounds[i] = append(rounds[i], b.measure(p, b.frames, b.rate))
		}
	}
	var medians []result
	for _, of := range rounds {
		slices.SortFunc(of, func(x, y result) int { return cmp.Compare(x.perPacket, y.perPacket) })
		one := of[len(of)/2]
		for _, r := range of {
			one.err = errors.Join(one.err, r.err)
		}
		medians = append(medians, one)
	}
	return medians
}

// highest searches the highest rate without a loss, of frames of searchSize bytes.
func (b *bench) highest(p program) (_ string, err error) {
	if err := b.wire.setSize(b.searchSize); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, b.wire.setSize(b.size)) }()
	const first, steps, seconds = 50_000, 3, 3
	try := func(rate int) (float64, bool, error) {
		r := b.measure(p, rate*seconds, rate)
		return r.rate, r.err == nil && r.lost == 0, r.err
	}
	best, good, bad := 0.0, 0, 0
	for rate := first; bad == 0; rate *= 2 {
		got, ok, err := try(rate)
		switch {
		case err != nil:
			return "", err
		case !ok:
			bad = rate
		case got < 0.8*float64(rate): // the sender is at its limit
			return fmt.Sprintf("%.0f kpps, the sender's highest", max(best, got)/1e3), nil
		default:
			best, good = got, rate
		}
	}
	for range steps {
		middle := (good + bad) / 2
		got, ok, err := try(middle)
		switch {
		case err != nil:
			return "", err
		case ok:
			best, good = max(best, got), middle
		default:
			bad = middle
		}
	}
	if good == 0 {
		return fmt.Sprintf("below %.0f kpps", float64(bad)/1e3), nil
	}
	return fmt.Sprintf("%.0f kpps", best/1e3), nil
}

// measure runs a program while frames are sent.
func (b *bench) measure(p program, frames, rate int) (r result) {
	r = result{program: p, sent: frames}
	dir := filepath.Join(b.dir, "files")
	if r.err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); r.err != nil {
		return r
	}
	args := p.args(dir)
	c := exec.Command("ip", append([]string{"netns", "exec", receiver}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	ready, err := b.start(c, p)
	if r.err = err; err != nil {
		return r
	}
	if r.err = ready(); r.err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		return r
	}
	before := cpuTime(c.Process.Pid)
	r.rate, r.err = b.wire.send(frames, rate)
	time.Sleep(endTime)
	spent := cpuTime(c.Process.Pid) - before
	_ = c.Process.Signal(unix.SIGINT)
	if err := c.Wait(); err != nil || r.err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("%s: %w: %s", p.name, err, strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; ")))
		return r
	}
	got, err := captured(p, dir, stdout.Bytes())
	switch r.err = err; {
	case err != nil:
	case got == 0:
		r.lost, r.perPacket = frames, math.Inf(1)
	default:
		r.lost, r.perPacket = frames-got, float64(spent)/float64(got)
	}
	return r
}

// start starts a program. The function that it returns waits until the program captures:
// hpcapdd tells a service manager, of the others there is a packet socket.
func (b *bench) start(c *exec.Cmd, p program) (ready func() error, err error) {
	if !p.ledger {
		return func() error {
			for end := time.Now().Add(startTime); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				sockets, err := exec.Command("ip", "netns", "exec", receiver, "cat", "/proc/net/packet").Output()
				if err == nil && bytes.Count(sockets, []byte("\n")) > 1 {
					time.Sleep(time.Second) // its ring may follow
					return nil
				}
			}
			return fmt.Errorf("%s: does not capture after %v", p.name, startTime)
		}, c.Start()
	}
	path := filepath.Join(b.dir, "notify")
	_ = os.Remove(path)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	return func() error {
		defer manager.Close()
		if err := manager.SetReadDeadline(time.Now().Add(startTime)); err != nil {
			return err
		}
		if _, err := manager.Read(make([]byte, 256)); err != nil {
			return fmt.Errorf("%s: does not capture after %v", p.name, startTime)
		}
		return nil
	}, c.Start()
}

// cpuTime is the time in nanoseconds that all threads of a process have run.
func cpuTime(pid int) (sum int64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		var ns int64
		if _, bad := fmt.Sscan(string(text), &ns); err == nil && bad == nil {
			sum += ns
		}
	}
	return sum
}

// captured is the number of packets that a program has stored, by its ledger or its files.
func captured(p program, dir string, stdout []byte) (n int, err error) {
	if p.ledger {
		var l capture.Ledger
		if err := json.Unmarshal(stdout, &l); err != nil {
			return 0, err
		}
		return int(l.Frames()), l.Balanced()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		one, err := packets(filepath.Join(dir, e.Name()))
		if err != nil {
			return 0, err
		}
		n += one
	}
	return n, nil
}

// packets is the number of packets in a capture file.
func packets(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		if _, err := r.Next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return 0, err
		}
		n++
	}
}
