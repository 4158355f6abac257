//go:build vmtest

package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

// commandDeadline is for a command in the guest or on a peer.
const commandDeadline = 2 * time.Minute

// guest is a running machine.
type guest struct {
	share   string // the folder that is /share in the guest
	release string // of the kernel

	machine machine
	qemu    *child
	stderr  *transcript
	console *transcript
	control *qmp
	models  []*model
	ports   []*port

	conn    net.Conn // the agent's
	writing sync.Mutex

	mu       sync.Mutex
	jobs     map[uint32]*process
	last     uint32
	ending   bool          // by cleanup: what ends now is no failure
	mayBreak bool          // a test broke it on purpose
	broken   chan struct{} // closed when the machine is of no use any more
	why      error         // valid then
}

// process is a program in the guest.
type process struct {
	g       *guest
	id      uint32
	command string
	done    chan struct{} // closed when it has ended
	status  agent.Status  // valid then

	mu  sync.Mutex
	out bytes.Buffer
}

// breaks says that the machine is of no use any more; the first reason counts.
func (g *guest) breaks(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending || g.why != nil {
		return
	}
	g.why = why
	// What follows a bad line on the console, such as its call trace, belongs
	// to the message.
	time.AfterFunc(500*time.Millisecond, func() { close(g.broken) })
}

// trouble is the error of a machine that broke, with the end of its console.
func (g *guest) trouble() error {
	return fmt.Errorf("%w\n--- end of the guest's console ---\n%s", g.why, tail(g.console.String(), 50))
}

// serve takes the agent's frames, until the connection ends.
func (g *guest) serve(r *agent.Reader) {
	for {
		f, err := r.Read()
		if err != nil {
			g.breaks(fmt.Errorf("the guest's agent is gone: %w", err))
			return
		}
		g.mu.Lock()
		p := g.jobs[f.Job]
		g.mu.Unlock()
		if p == nil {
			g.breaks(fmt.Errorf("the guest's agent sent a frame of kind %d for job %d, which does not run", f.Kind, f.Job))
			continue
		}
		switch f.Kind {
		case agent.Output:
			p.mu.Lock()
			p.out.Write(f.Payload)
			p.mu.Unlock()
		case agent.Exit:
			if err := json.Unmarshal(f.Payload, &p.status); err != nil {
				g.breaks(fmt.Errorf("the guest's agent sent a bad status: %w", err))
				continue
			}
			g.mu.Lock()
			delete(g.jobs, f.Job)
			g.mu.Unlock()
			close(p.done)
		}
	}
}

func (g *guest) send(k agent.Kind, job uint32, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b, err := agent.Frame{Kind: k, Job: job, Payload: payload}.Append(nil)
	if err != nil {
		return err
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.conn.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := g.conn.Write(b); err != nil {
		return fmt.Errorf("send to the guest's agent: %w", err)
	}
	return nil
}

func (g *guest) startJob(command string, args []string) (*process, error) {
	p := &process{g: g, command: command, done: make(chan struct{})}
	g.mu.Lock()
	g.last++
	p.id = g.last
	g.jobs[p.id] = p
	g.mu.Unlock()
	return p, g.send(agent.Start, p.id, agent.Job{Args: args})
}

func asRoot(command string) []string { return []string{"sh", "-c", command} }

// asUser runs the command as a user logs in: without capabilities, with the
// machine's memlock limit.
func (g *guest) asUser(user, command string) []string {
	limit := ""
	if g.machine.Memlock != "" {
		limit = "ulimit -l " + g.machine.Memlock + " && "
	}
	return []string{"sh", "-c", limit + `exec setpriv --reuid "$1" --regid "$1" --init-groups --inh-caps=-all ` +
		`env HOME="/home/$1" USER="$1" LOGNAME="$1" sh -c 'cd && eval "$1"' sh "$2"`, "sh", user, command}
}

// run runs a shell command as root and returns what it printed on standard
// output and error. A status other than 0 fails the test.
func (g *guest) run(t *testing.T, command string) string {
	t.Helper()
	out, err := g.try(command)
	if err != nil {
		t.Fatalf("in the guest: %s: %v\n%s", command, err, out)
	}
	return out
}

// try is run without failing the test.
func (g *guest) try(command string) (string, error) {
	return g.finish(g.startJob(command, asRoot(command)))
}

// runAs runs a shell command as a user.
func (g *guest) runAs(t *testing.T, user, command string) string {
	t.Helper()
	out, err := g.tryAs(user, command)
	if err != nil {
		t.Fatalf("in the guest, as %s: %s: %v\n%s", user, command, err, out)
	}
	return out
}

// tryAs is runAs without failing the test.
func (g *guest) tryAs(user, command string) (string, error) {
	return g.finish(g.startJob(command, g.asUser(user, command)))
}

func (g *guest) finish(p *process, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return p.end(commandDeadline)
}

// start starts a shell command as root that goes on in the background. What is
// still running when the test ends, ends with the machine.
func (g *guest) start(t *testing.T, command string) *process {
	t.Helper()
	p, err := g.startJob(command, asRoot(command))
	if err != nil {
		t.Fatalf("in the guest: %s: %v", command, err)
	}
	return p
}

// startAs is start as a user.
func (g *guest) startAs(t *testing.T, user, command string) *process {
	t.Helper()
	p, err := g.startJob(command, g.asUser(user, command))
	if err != nil {
		t.Fatalf("in the guest, as %s: %s: %v", user, command, err)
	}
	return p
}

// end waits for the process and returns its output and what was wrong.
func (p *process) end(patience time.Duration) (string, error) {
	patience = min(patience, time.Until(runEnds))
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-p.g.broken:
		return p.output(), p.g.trouble()
	case <-timer.C:
		_ = p.kill(unix.SIGKILL) // the caller hears of the deadline
		if time.Now().After(runEnds) {
			return p.output(), fmt.Errorf("not done when the whole run had to end")
		}
		return p.output(), fmt.Errorf("not done after %v", patience)
	}
	// The machine may have been broken by what has just ended.
	select {
	case <-p.g.broken:
		return p.output(), p.g.trouble()
	default:
	}
	switch s := p.status; {
	case s.Error != "":
		return p.output(), errors.New(s.Error)
	case s.Signal != "":
		return p.output(), &statusError{s}
	case s.Code != 0:
		return p.output(), &statusError{s}
	}
	return p.output(), nil
}

// statusError is a program's failure.
type statusError struct{ agent.Status }

func (e *statusError) Error() string {
	if e.Signal != "" {
		return "ended by " + e.Signal
	}
	return fmt.Sprintf("status %d", e.Code)
}

// wait waits for the process to end by itself and returns its output. A status
// other than 0, or a process that goes on, fails the test.
func (p *process) wait(t *testing.T, deadline time.Duration) string {
	t.Helper()
	out, err := p.end(deadline)
	if err != nil {
		t.Fatalf("in the guest: %s: %v\n%s", p.command, err, out)
	}
	return out
}

// waitFor waits until the output holds the text and returns the output so far.
func (p *process) waitFor(t *testing.T, text string, deadline time.Duration) string {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		ended := false
		select {
		case <-p.done:
			ended = true
		case <-p.g.broken:
			t.Fatalf("in the guest: %s: %v", p.command, p.g.trouble())
		default:
		}
		out := p.output()
		switch {
		case strings.Contains(out, text):
			return out
		case ended:
			t.Fatalf("in the guest: %s: ended (status %d) without printing %q:\n%s", p.command, p.status.Code, text, out)
		case time.Since(start) > deadline || time.Now().After(runEnds):
			t.Fatalf("in the guest: %s: has not printed %q after %v:\n%s", p.command, text, time.Since(start).Round(time.Second), out)
		}
	}
}

// output is what the process has printed so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// signal sends the signal ("KILL", "INT", ...) to the process and its children.
func (p *process) signal(name string) error {
	number := unix.SignalNum("SIG" + name)
	if number == 0 {
		return fmt.Errorf("no signal is called %q", name)
	}
	return p.kill(number)
}

func (p *process) kill(s unix.Signal) error { return p.g.send(agent.Signal, p.id, int(s)) }

// dmesg is the guest kernel's log.
func (g *guest) dmesg(t *testing.T) string {
	t.Helper()
	return g.run(t, "dmesg")
}

// nic is the machine's i-th NIC.
func (g *guest) nic(i int) *port { return g.ports[i] }
