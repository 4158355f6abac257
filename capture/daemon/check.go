package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/units"
)

// askTimeout is how long Check waits for a running capture's answer.
const askTimeout = 2 * time.Second

// Check tries what starting needs, by starting: it opens everything as Open does, and
// closes it again. It writes a summary of the settings and a line for each thing tried
// to w, or returns Open's error. Folders that it made are removed again.
//
// If a capture of the same ports answers at the control socket of the settings, devices,
// memory and addresses are its own: Check then opens nothing, says so, and returns what
// can be found out without.
func Check(w io.Writer, s *settings.Settings) error {
	var tried []string
	if pid := running(s); pid != 0 {
		if err := onMachine(s); err != nil {
			return err
		}
		tried = []string{fmt.Sprintf("running in process %d: devices, memory, sockets and addresses are in use, so a start was not tried", pid)}
	} else {
		defer removeNew(s)()
		d, err := Open(s, Config{})
		if err != nil {
			return err
		}
		tried = d.opened()
		if err := d.Close(); err != nil {
			return err
		}
	}
	what := "ok"
	if file := s.File(); file != "" {
		what = file + ": ok"
	}
	_, err := fmt.Fprintf(w, "%s\n%s%s\n", what, s.Summary(), strings.Join(tried, "\n"))
	return err
}

// onMachine returns everything that this machine cannot do of settings, as far as that
// can be found out without opening anything.
func onMachine(s *settings.Settings) error {
	err := settings.Join(s.CheckMachine(settings.Machine{}))
	if bad := policy(s).Check(folders(s)...); bad != nil {
		err = errors.Join(err, fmt.Errorf("retention: %w", bad))
	}
	return err
}

// running returns the process that serves the control socket of settings and captures
// one of their ports; 0: none.
func running(s *settings.Settings) (pid int) {
	if s.Share.Dir == "" {
		return 0
	}
	c := control.NewClient(s.Share.Control())
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	captured, err := c.Ports(ctx)
	if err != nil {
		return 0
	}
	for _, p := range captured.Ports {
		same := func(own settings.Port) bool { return own.Device == p.Device }
		if !slices.ContainsFunc(s.Ports, same) {
			continue
		}
		if status, err := c.Port(p.Name).Status(ctx); err == nil {
			return status.PID
		}
	}
	return 0
}

// removeNew returns a function that removes the folders of settings which do not exist
// yet, if they exist then and are empty.
func removeNew(s *settings.Settings) (remove func()) {
	var missing []string
	for _, dir := range append(folders(s), s.Hpcapmon.Dir) {
		if _, err := os.Lstat(dir); dir != "" && errors.Is(err, os.ErrNotExist) {
			missing = append(missing, dir)
		}
	}
	return func() {
		for _, dir := range missing {
			_ = os.Remove(dir)
		}
	}
}

// opened describes what is open, a line each.
func (d *Daemon) opened() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for _, p := range d.ports {
		var buffers units.Size
		for q := range p.engine.Queues() {
			buffers += units.Size(p.engine.Stream(q).BufferBytes())
		}
		name := p.Device
		if as := p.device.Name(); as != name {
			name += " as " + as
		}
		add("opened %s: %s, %v in %v pages", name, coresText(p.engine.Cores()), buffers, p.engine.Stream(0).Config().Pages)
		if pool := p.engine.Pool(0); pool != nil {
			add("zero copy: each queue has a pool of %v", pool)
		}
		_, plan := p.filters.Filters()
		for _, s := range plan.Rules {
			add("port filter %s", s)
		}
		for _, q := range p.recorder.Stats() {
			for _, dir := range q.Store.Dirs {
				if !seen[dir.Path] {
					add("folder %s: %s", dir.Path, folderText(dir.Path, dir.Direct))
				}
				seen[dir.Path] = true
			}
		}
	}
	if d.hpcapmon != nil {
		add("folder %s: writable", d.started.Hpcapmon.Dir)
	}
	if d.started.Share.Dir != "" {
		add("socket %s", d.started.Share.Control())
	}
	if a := d.MetricsAddress(); a != "" {
		add("address %s", a)
	}
	return lines
}

// coresText names the cores of pollers.
func coresText(cores []int) string {
	if slices.Contains(cores, capture.AnyCore) {
		return "pollers not pinned"
	}
	return "pollers on cores " + topology.FormatList(cores)
}

// folderText describes a folder that files can be written to.
func folderText(path string, direct bool) string {
	text := "writable"
	if !direct {
		text += " through the page cache"
	}
	var st unix.Statfs_t
	if unix.Statfs(path, &st) == nil {
		text += fmt.Sprintf(", %.1f GiB free", float64(st.Bavail*uint64(st.Bsize))/(1<<30))
	}
	return text
}
