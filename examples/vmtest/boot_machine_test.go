//go:build vmtest

package vmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

// bootDeadline is the time limit of a boot, which takes seconds on an idle host.
const bootDeadline = 3 * time.Minute

// errHung is a boot that neither ends nor fails.
var errHung = errors.New("the boot hangs")

// boot starts the models and a VM with their NICs, and returns after the agent's first
// message, or at once if iPXE boots. VM and models end with the test. A failed test prints
// their output. Booting is a case with a line of its own.
//
// QEMU's emulated processors rarely hang in a boot, before any program runs in the VM. Such
// a VM is started once more, and the output says so. A second hang fails, as does one of a
// VM whose models have a fault.
func boot(t *testing.T, m machine) *vm {
	t.Helper()
	start, ok := time.Now(), false
	title := caseTitle(t.Name(), "boot")
	defer func() { report(title, ok, t.Skipped(), time.Since(start)) }()
	initrd := ""
	if !m.IPXE {
		var err error
		if initrd, err = initramfs(m.Kernel); err != nil {
			t.Fatalf("make the initramfs: %v", err)
		}
	}
	v, err := startVM(t, m, initrd)
	if errors.Is(err, errHung) && *fault == "" {
		reportRestart(title)
		if err := v.stop(); err != nil {
			t.Fatalf("end the VM that hangs: %v", err)
		}
		v, err = startVM(t, m, initrd)
	}
	if err != nil {
		t.Fatalf("boot kernel %s: %v", m.Kernel, err)
	}
	ok = true
	return v
}

func startVM(t *testing.T, m machine, initrd string) (*vm, error) {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	v := &vm{share: filepath.Join(dir, "share"), machine: m, stderr: &transcript{},
		jobs: map[uint32]*process{}, broken: make(chan struct{})}
	v.console = &transcript{seen: v.checkConsole}
	t.Cleanup(func() {
		v.end(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(v.share, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(v.share, 0o777); err != nil { // independent of the umask: users of the VM write here
		t.Fatal(err)
	}
	startModels(t, v, m.NICs, dir)
	if err = v.boot(initrd, dir); errors.Is(err, errHung) {
		fmt.Printf("boot kernel %s: %v\n%s\n", m.Kernel, err, v.hang()) // the test may end much later
	}
	return v, err
}

func (v *vm) boot(initrd, dir string) error {
	// QEMU connects to these sockets.
	control, err := listen(filepath.Join(dir, "qmp"))
	if err != nil {
		return err
	}
	defer control.Close()
	agents, err := listen(filepath.Join(dir, "agent"))
	if err != nil {
		return err
	}
	defer agents.Close()

	cmd, err := v.machine.command(context.Background(), initrd, dir, v.share, v.ports)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = v.console, v.stderr
	if v.qemu, err = startChild("qemu", cmd, -1); err != nil {
		return err
	}
	go func() {
		<-v.qemu.done
		v.markBroken(fmt.Errorf("QEMU ended: %v\n%s", v.qemu.err, tail(v.stderr.String(), 20)))
	}()

	conn, err := v.accept(control, 30*time.Second)
	if err != nil {
		return fmt.Errorf("QEMU's control channel: %w", err)
	}
	if v.control, err = newQMP(conn); err != nil {
		return err
	}
	if v.machine.IPXE {
		return nil
	}
	if v.conn, err = v.accept(agents, 30*time.Second); err != nil {
		return fmt.Errorf("QEMU's serial port: %w", err)
	}
	return v.awaitAgent()
}

// awaitAgent waits for the agent's first message.
func (v *vm) awaitAgent() error {
	r := agent.NewReader(v.conn)
	type hello struct {
		agent.Frame
		error
	}
	first := make(chan hello, 1)
	go func() {
		f, err := r.Read()
		first <- hello{f, err}
	}()
	timer := time.NewTimer(min(bootDeadline, time.Until(runEnds)))
	defer timer.Stop()
	select {
	case h := <-first:
		var greeting agent.Greeting
		if h.error == nil && h.Kind != agent.Hello {
			h.error = fmt.Errorf("first frame of kind %d", h.Kind)
		}
		if h.error == nil {
			h.error = json.Unmarshal(h.Payload, &greeting)
		}
		if h.error != nil {
			return fmt.Errorf("agent: %w\n--- end of the VM's console ---\n%s", h.error, tail(v.console.String(), 50))
		}
		v.release = greeting.Release
		go v.serve(r)
		return nil
	case <-v.broken:
		return v.brokenError()
	case <-timer.C:
		return fmt.Errorf("%w: no message of the agent within %v", errHung, bootDeadline)
	}
}

// hang describes a VM that hangs: its console, where its processors are, and what QEMU and
// the models said.
func (v *vm) hang() string {
	var b strings.Builder
	fmt.Fprintf(&b, "--- end of the VM's console ---\n%s\n--- its processors ---\n", tail(v.console.String(), 50))
	var registers string
	reply, err := v.control.call("human-monitor-command", map[string]any{"command-line": "info registers -a"})
	if err == nil {
		err = json.Unmarshal(reply, &registers)
	}
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	for line := range strings.Lines(registers) {
		if strings.Contains(line, "CPU#") || strings.HasPrefix(line, "RIP=") {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, "--- QEMU's messages ---\n%s", tail(v.stderr.String(), 30))
	for i, m := range v.models {
		fmt.Fprintf(&b, "\n--- nicsim %d (%v): messages ---\n%s", i, m.wires, tail(m.err.String(), 40))
	}
	return b.String()
}

func listen(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// accept waits for QEMU's connection.
func (v *vm) accept(l *net.UnixListener, timeout time.Duration) (net.Conn, error) {
	for start := time.Now(); ; {
		if err := l.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return nil, err
		}
		conn, err := l.Accept()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
		select {
		case <-v.broken:
			return nil, v.brokenError()
		default:
		}
		if time.Since(start) > timeout {
			return nil, fmt.Errorf("no connection within %v: %s", timeout, tail(v.stderr.String(), 20))
		}
	}
}

// sinceInit prints the kernel's log since init, with levels.
const sinceInit = `dmesg -x | sed '1,/Run .init as init process/d'`

// end stops QEMU and the models, and prints their output if the test failed.
func (v *vm) end(t *testing.T) {
	if v.stopped { // it hung, and another was started
		return
	}
	v.mu.Lock()
	v.ending = true
	why := v.why
	v.mu.Unlock()
	if why != nil && !t.Failed() && !v.mayBreak {
		// No command was running.
		t.Errorf("%v", v.brokenError())
	}
	if t.Failed() && why == nil && v.release != "" {
		// The agent may not work any more; the console is printed in any case.
		if log, err := v.try(sinceInit + ` | grep -E '^[a-z]+ *:(emerg|alert|crit|err|warn) *:'`); err == nil {
			t.Logf("--- warnings of the VM's kernel ---\n%s", log)
		}
		if log, err := v.try(sinceInit + " | tail -n 50"); err == nil {
			t.Logf("--- end of the VM's dmesg ---\n%s", log)
		}
	}
	if err := v.stop(); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		return
	}
	t.Logf("--- end of the VM's console ---\n%s", tail(v.console.String(), 60))
	t.Logf("--- QEMU's messages ---\n%s", tail(v.stderr.String(), 30))
	for i, m := range v.models {
		t.Logf("--- nicsim %d (%v): messages ---\n%s\n--- its counters ---\n%s", i, m.wires, tail(m.err.String(), 40), tail(m.out.String(), len(m.sockets)))
	}
}

// stop stops QEMU and the models.
func (v *vm) stop() (err error) {
	v.mu.Lock()
	v.ending = true
	v.mu.Unlock()
	v.stopped = true
	if v.qemu != nil {
		if e := v.quit(); e != nil {
			err = fmt.Errorf("end QEMU: %w", e)
		}
	}
	for _, m := range v.models {
		if m.child != nil {
			err = errors.Join(err, m.stop())
		}
	}
	if v.conn != nil {
		v.conn.Close()
	}
	if v.control != nil {
		v.control.conn.Close()
	}
	return err
}

// quit ends QEMU by QMP, then by signals.
func (v *vm) quit() error {
	if v.control != nil {
		// An error means that QEMU has ended.
		_, _ = v.control.call("quit", nil)
		select {
		case <-v.qemu.done:
			return nil
		case <-time.After(10 * time.Second):
		}
	}
	return v.qemu.stop(os.Interrupt, 5*time.Second)
}
