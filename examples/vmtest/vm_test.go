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

// commandDeadline is the time limit of a command in the VM or on a peer.
const commandDeadline = 2 * time.Minute

// vm is a running virtual machine.
type vm struct {
	share   string // folder mounted as /share in the VM
	release string // of the kernel; empty before the agent's first message

	machine machine
	qemu    *child
	stderr  *transcript
	console *transcript
	control *qmp
	models  []*model
	ports   []*port

	conn    net.Conn // to the agent
	stopped bool     // QEMU and the models have been stopped
	writing sync.Mutex

	mu       sync.Mutex
	jobs     map[uint32]*process
	last     uint32
	ending   bool          // set at the end: the end of QEMU is no failure
	mayBreak bool          // the test breaks the VM
	broken   chan struct{} // closed when the VM cannot be used any more
	why      error         // valid then
}

// process is a program in the VM.
type process struct {
	vm      *vm
	id      uint32
	command string
	done    chan struct{} // closed when it has ended
	status  agent.Status  // valid then

	mu  sync.Mutex
	out bytes.Buffer
}

// markBroken reports that the VM cannot be used any more. The first reason is kept.
func (v *vm) markBroken(why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ending || v.why != nil {
		return
	}
	v.why = why
	// Later lines of the console, such as a call trace, belong to the message.
	time.AfterFunc(500*time.Millisecond, func() { close(v.broken) })
}

// brokenError returns the error of a broken VM, with the end of its console.
func (v *vm) brokenError() error {
	return fmt.Errorf("%w\n--- end of the VM's console ---\n%s", v.why, tail(v.console.String(), 50))
}

// serve reads the agent's frames until the connection ends.
func (v *vm) serve(r *agent.Reader) {
	for {
		f, err := r.Read()
		if err != nil {
			v.markBroken(fmt.Errorf("connection to the agent: %w", err))
			return
		}
		v.mu.Lock()
		p := v.jobs[f.Job]
		v.mu.Unlock()
		if p == nil {
			v.markBroken(fmt.Errorf("the agent sent a frame of kind %d for job %d, which does not run", f.Kind, f.Job))
			continue
		}
		switch f.Kind {
		case agent.Output:
			p.mu.Lock()
			p.out.Write(f.Payload)
			p.mu.Unlock()
		case agent.Exit:
			if err := json.Unmarshal(f.Payload, &p.status); err != nil {
				v.markBroken(fmt.Errorf("the agent sent an invalid status: %w", err))
				continue
			}
			v.mu.Lock()
			delete(v.jobs, f.Job)
			v.mu.Unlock()
			close(p.done)
		}
	}
}

func (v *vm) send(k agent.Kind, job uint32, content any) error {
	payload, err := json.Marshal(content)
	if err != nil {
		return err
	}
	b, err := agent.Frame{Kind: k, Job: job, Payload: payload}.Append(nil)
	if err != nil {
		return err
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	if err := v.conn.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := v.conn.Write(b); err != nil {
		return fmt.Errorf("send to the agent: %w", err)
	}
	return nil
}

func (v *vm) startJob(command string, args []string) (*process, error) {
	p := &process{vm: v, command: command, done: make(chan struct{})}
	v.mu.Lock()
	v.last++
	p.id = v.last
	v.jobs[p.id] = p
	v.mu.Unlock()
	return p, v.send(agent.Start, p.id, agent.Job{Args: args})
}

func asRoot(command string) []string { return []string{"sh", "-c", command} }

// asUser returns the arguments that run a command as after a login: without
// capabilities, with the machine's memlock limit.
func (v *vm) asUser(user, command string) []string {
	limit := ""
	if v.machine.Memlock != "" {
		limit = "ulimit -l " + v.machine.Memlock + " && "
	}
	return []string{"sh", "-c", limit + `exec setpriv --reuid "$1" --regid "$1" --init-groups --inh-caps=-all ` +
		`env HOME="/home/$1" USER="$1" LOGNAME="$1" sh -c 'cd && eval "$1"' sh "$2"`, "sh", user, command}
}

// run runs a shell command as root and returns its standard output and error. A status
// other than 0 fails the test.
func (v *vm) run(t *testing.T, command string) string {
	t.Helper()
	out, err := v.try(command)
	if err != nil {
		t.Fatalf("in the VM: %s: %v\n%s", command, err, out)
	}
	return out
}

// try is run without failing the test.
func (v *vm) try(command string) (string, error) {
	return v.finish(v.startJob(command, asRoot(command)))
}

// runAs runs a shell command as a user.
func (v *vm) runAs(t *testing.T, user, command string) string {
	t.Helper()
	out, err := v.tryAs(user, command)
	if err != nil {
		t.Fatalf("in the VM, as %s: %s: %v\n%s", user, command, err, out)
	}
	return out
}

// tryAs is runAs without failing the test.
func (v *vm) tryAs(user, command string) (string, error) {
	return v.finish(v.startJob(command, v.asUser(user, command)))
}

func (v *vm) finish(p *process, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return p.end(commandDeadline)
}

// start starts a shell command as root in the background. It ends with the VM at the
// latest.
func (v *vm) start(t *testing.T, command string) *process {
	t.Helper()
	p, err := v.startJob(command, asRoot(command))
	if err != nil {
		t.Fatalf("in the VM: %s: %v", command, err)
	}
	return p
}

// startAs is start as a user.
func (v *vm) startAs(t *testing.T, user, command string) *process {
	t.Helper()
	p, err := v.startJob(command, v.asUser(user, command))
	if err != nil {
		t.Fatalf("in the VM, as %s: %s: %v", user, command, err)
	}
	return p
}

// end waits for the process and returns its output and its error.
func (p *process) end(timeout time.Duration) (string, error) {
	timeout = min(timeout, time.Until(runEnds))
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-p.vm.broken:
		return p.output(), p.vm.brokenError()
	case <-timer.C:
		_ = p.kill(unix.SIGKILL) // the error reports the timeout
		if time.Now().After(runEnds) {
			return p.output(), fmt.Errorf("not done at the end of the run")
		}
		return p.output(), fmt.Errorf("not done after %v", timeout)
	}
	// The process may have broken the VM.
	select {
	case <-p.vm.broken:
		return p.output(), p.vm.brokenError()
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

// statusError is a status other than 0.
type statusError struct{ agent.Status }

func (e *statusError) Error() string {
	if e.Signal != "" {
		return "ended by " + e.Signal
	}
	return fmt.Sprintf("status %d", e.Code)
}

// wait waits for the end of the process and returns its output. A status other than 0
// or a timeout fails the test.
func (p *process) wait(t *testing.T, deadline time.Duration) string {
	t.Helper()
	out, err := p.end(deadline)
	if err != nil {
		t.Fatalf("in the VM: %s: %v\n%s", p.command, err, out)
	}
	return out
}

// waitFor waits until the output contains the text and returns the output.
func (p *process) waitFor(t *testing.T, text string, deadline time.Duration) string {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		ended := false
		select {
		case <-p.done:
			ended = true
		case <-p.vm.broken:
			t.Fatalf("in the VM: %s: %v", p.command, p.vm.brokenError())
		default:
		}
		out := p.output()
		switch {
		case strings.Contains(out, text):
			return out
		case ended:
			t.Fatalf("in the VM: %s: ended (status %d) without printing %q:\n%s", p.command, p.status.Code, text, out)
		case time.Since(start) > deadline || time.Now().After(runEnds):
			t.Fatalf("in the VM: %s: has not printed %q after %v:\n%s", p.command, text, time.Since(start).Round(time.Second), out)
		}
	}
}

// output returns the output of the process so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// signal sends the signal ("KILL", "INT", ...) to the process and its children.
func (p *process) signal(name string) error {
	number := unix.SignalNum("SIG" + name)
	if number == 0 {
		return fmt.Errorf("unknown signal %q", name)
	}
	return p.kill(number)
}

func (p *process) kill(s unix.Signal) error { return p.vm.send(agent.Signal, p.id, int(s)) }

// dmesg returns the log of the VM's kernel.
func (v *vm) dmesg(t *testing.T) string {
	t.Helper()
	return v.run(t, "dmesg")
}

// nic returns the port of NIC i.
func (v *vm) nic(i int) *port { return v.ports[i] }
