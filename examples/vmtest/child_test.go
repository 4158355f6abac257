//go:build vmtest

package vmtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is a process that ends with this one.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid then
}

// startChild starts cmd, in the network namespace ns if that is not negative. The kernel
// sends the parent-death signal at the end of the forking thread, not of the process, so
// that thread runs until the child ends.
func startChild(name string, cmd *exec.Cmd, ns int) (*child, error) {
	c := &child{name: name, cmd: cmd, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true // interrupts of the terminal go to this process only
	cmd.WaitDelay = 2 * time.Second
	started := make(chan error)
	go func() {
		// Not unlocked: the thread is in another namespace and must end with this
		// goroutine.
		runtime.LockOSThread()
		if ns >= 0 {
			if err := enter(ns); err != nil {
				started <- err
				return
			}
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// stop sends the signal, and SIGKILL if the process does not end in time.
func (c *child) stop(sig os.Signal, timeout time.Duration) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	_ = c.cmd.Process.Signal(sig) // an error means that it has ended
	select {
	case <-c.done:
		return nil
	case <-time.After(timeout):
	}
	_ = c.cmd.Process.Kill()
	select {
	case <-c.done:
		return fmt.Errorf("%s did not end within %v of %v and was killed", c.name, timeout, sig)
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s (process %d) cannot be killed", c.name, c.cmd.Process.Pid)
	}
}

// transcript stores the output of a process. It can be read while the process runs.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
	// seen, if not nil, is called with every complete line.
	seen func(line string)
	part []byte
}

var _ io.Writer = (*transcript)(nil)

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b.Write(p)
	l.part = append(l.part, p...)
	var lines []string
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 {
			break
		}
		lines = append(lines, string(bytes.TrimRight(l.part[:i], "\r")))
		l.part = l.part[i+1:]
	}
	l.mu.Unlock()
	if l.seen != nil {
		for _, line := range lines {
			l.seen(line)
		}
	}
	return len(p), nil
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	b := bytes.TrimRight([]byte(s), "\r\n")
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return "...\n" + string(b[i+1:])
			}
		}
	}
	return string(b)
}
