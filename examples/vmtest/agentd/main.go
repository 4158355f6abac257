// Agentd is the agent in the virtual machines of the VM tests. It serves the protocol of
// package agent on the virtio-serial port "ixcap", and names the interfaces of the NICs
// nic0, nic1, ... by the root port above them.
//
//	agentd            serve until the port is closed
//	agentd --rename   name the interfaces and end
//
// It refuses to run outside of these VMs, because it renames interfaces.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

const (
	portName     = "ixcap"
	portDeadline = 30 * time.Second
	// outputDelay is how long a job's output is read after the end of its process,
	// if another process keeps it open.
	outputDelay = time.Second
)

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := inVM("/proc/cmdline"); err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "--rename" {
		return nameInterfaces("/")
	}
	if len(args) != 0 {
		return errors.New("usage: agentd [--rename]")
	}
	port, err := openPort("/")
	if err != nil {
		return err
	}
	defer port.Close()
	if err := watchInterfaces(); err != nil {
		return err
	}
	s := &server{port: port, home: "/root", nameInterfaces: func() error { return nameInterfaces("/") }, jobs: map[uint32]*os.Process{}}
	return s.serve()
}

// inVM returns an error unless the kernel's command line has the word of the tests.
func inVM(cmdline string) error {
	b, err := os.ReadFile(cmdline)
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(b)), "ixcap.vm") {
		return errors.New("not a VM of the tests. Use make vmtest")
	}
	return nil
}

// openPort opens the port; it waits until its driver has found it.
func openPort(root string) (*os.File, error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob(filepath.Join(root, "sys/class/virtio-ports/*/name"))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err == nil && strings.TrimSpace(string(b)) == portName {
				return os.OpenFile(filepath.Join(root, "dev", filepath.Base(filepath.Dir(n))), os.O_RDWR, 0)
			}
		}
		if time.Since(start) > portDeadline {
			return nil, fmt.Errorf("no virtio-serial port named %q after %v", portName, portDeadline)
		}
	}
}

type server struct {
	port           io.ReadWriter
	home           string       // working directory of jobs
	nameInterfaces func() error // before each job

	writing sync.Mutex

	mu   sync.Mutex
	jobs map[uint32]*os.Process
}

func (s *server) serve() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	if err := s.sendJSON(agent.Hello, 0, agent.Greeting{Release: unix.ByteSliceToString(uts.Release[:])}); err != nil {
		return err
	}
	r := agent.NewReader(s.port)
	for {
		f, err := r.Read()
		if err != nil {
			return fmt.Errorf("read from the host: %w", err)
		}
		switch f.Kind {
		case agent.Start:
			var job agent.Job
			if err := json.Unmarshal(f.Payload, &job); err != nil || len(job.Args) == 0 {
				s.exit(f.Job, agent.Status{Code: 127, Error: fmt.Sprintf("invalid job %q: %v", f.Payload, err)})
				continue
			}
			s.start(f.Job, job)
		case agent.Signal:
			var sig int
			if err := json.Unmarshal(f.Payload, &sig); err != nil {
				fmt.Fprintln(os.Stderr, "agentd: invalid signal:", err)
				continue
			}
			s.signal(f.Job, syscall.Signal(sig))
		default:
			fmt.Fprintf(os.Stderr, "agentd: frame of unknown kind %d\n", f.Kind)
		}
	}
}

func (s *server) start(id uint32, job agent.Job) {
	if err := s.nameInterfaces(); err != nil {
		fmt.Fprintln(os.Stderr, "agentd:", err)
	}
	out := output{s, id}
	cmd := exec.Command(job.Args[0], job.Args[1:]...)
	cmd.Env = append(os.Environ(), job.Env...)
	cmd.Dir = s.home
	cmd.Stdout, cmd.Stderr = out, out // the same value, so one pipe keeps the order
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.exit(id, agent.Status{Code: 127, Error: err.Error()})
		return
	}
	s.mu.Lock()
	s.jobs[id] = cmd.Process
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		delete(s.jobs, id)
		s.mu.Unlock()
		status := agent.Status{Code: cmd.ProcessState.ExitCode()}
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			status.Signal = unix.SignalName(ws.Signal())
			status.Code = 128 + int(ws.Signal())
		}
		var exited *exec.ExitError
		if err != nil && !errors.As(err, &exited) && !errors.Is(err, exec.ErrWaitDelay) {
			status.Error = err.Error()
		}
		s.exit(id, status)
	}()
}

// signal signals the job's process group. It is no error if the job has ended.
func (s *server) signal(id uint32, sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.jobs[id]; p != nil {
		if err := syscall.Kill(-p.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			fmt.Fprintf(os.Stderr, "agentd: signal %v to job %d: %v\n", sig, id, err)
		}
	}
}

func (s *server) exit(id uint32, status agent.Status) {
	if err := s.sendJSON(agent.Exit, id, status); err != nil {
		fmt.Fprintln(os.Stderr, "agentd:", err)
	}
}

func (s *server) sendJSON(k agent.Kind, id uint32, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(agent.Frame{Kind: k, Job: id, Payload: b})
}

func (s *server) send(f agent.Frame) error {
	b, err := f.Append(nil)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.port.Write(b); err != nil {
		return fmt.Errorf("write to the host: %w", err)
	}
	return nil
}

// output sends the output of a job.
type output struct {
	s  *server
	id uint32
}

func (o output) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		part := b[n:min(n+agent.MaxPayload, len(b))]
		if err := o.s.send(agent.Frame{Kind: agent.Output, Job: o.id, Payload: part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(b), nil
}
