//go:build vmtest

package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ixcap/ixcap/sim"
)

// nic is a software 82599 of a VM.
type nic struct {
	// Wire is the wire of the port, for nicsim --wire. Two consecutive NICs with the
	// wire "pair" are connected.
	Wire string

	// VFs gives the VM that many virtual functions of the port, not the port itself: a
	// driver on the host has it.
	VFs int
}

// model is a nicsim process: one NIC, or the two of a pair.
type model struct {
	child   *child
	sockets []string
	wires   []string
	err     *transcript
	out     *transcript
}

// port is a NIC of a running VM.
type port struct {
	model  *model
	index  int // of the model's ports
	socket string
	slot   int
	vm     *vm
}

const (
	modelDeadline = 20 * time.Second // to listen, to answer, to end
	paired        = "pair"
)

// startModels starts a nicsim for each NIC or pair of them; sockets appear in dir.
func startModels(t *testing.T, v *vm, nics []nic, dir string) {
	t.Helper()
	for i := 0; i < len(nics); i++ {
		m := &model{err: &transcript{}, out: &transcript{}}
		wire := nics[i].Wire
		socket := filepath.Join(dir, fmt.Sprintf("nic%d", i))
		if n := nics[i].VFs; n > 0 {
			m.add(socket, fmt.Sprintf("%s,vfs=%d", wire, n))
			for k := range n {
				v.ports = append(v.ports, &port{model: m, socket: fmt.Sprintf("%s.vf%d", socket, k), slot: len(v.ports), vm: v})
			}
		} else {
			m.add(socket, wire)
			v.ports = append(v.ports, &port{model: m, socket: socket, slot: len(v.ports), vm: v})
		}
		if isPair(wire) {
			if i+1 == len(nics) || !isPair(nics[i+1].Wire) {
				t.Fatalf("NIC %d: the wire %q needs two NICs", i, wire)
			}
			i++
			socket := filepath.Join(dir, fmt.Sprintf("nic%d", i))
			m.sockets = append(m.sockets, socket)
			v.ports = append(v.ports, &port{model: m, index: 1, socket: socket, slot: len(v.ports), vm: v})
		}
		v.models = append(v.models, m)
		if err := m.start(); err != nil {
			t.Fatalf("NIC %d: %v\n%s", i, err, m.err)
		}
		go func() {
			<-m.child.done
			v.markBroken(fmt.Errorf("nicsim ended: %v\n%s", m.child.err, tail(m.err.String(), 30)))
		}()
	}
}

func isPair(wire string) bool {
	for key := range strings.SplitSeq(wire, ",") {
		if key == paired {
			return true
		}
	}
	return false
}

func (m *model) add(socket, wire string) {
	if *fault != "" {
		wire = strings.TrimSuffix("fault="+*fault+","+wire, ",")
	}
	m.sockets = append(m.sockets, socket)
	m.wires = append(m.wires, wire)
}

func (m *model) start() error {
	args := []string{"--json"}
	for i, s := range m.sockets {
		args = append(args, "--socket", s)
		if i < len(m.wires) {
			args = append(args, "--wire", m.wires[i])
		}
	}
	cmd := exec.Command(filepath.Join(programs, "nicsim"), args...)
	cmd.Stdout, cmd.Stderr = m.out, m.err
	var err error
	if m.child, err = startChild("nicsim", cmd, -1); err != nil {
		return err
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if exists(m.sockets) {
			return nil
		}
		select {
		case <-m.child.done:
			return fmt.Errorf("nicsim ended at once: %v", m.child.err)
		default:
		}
		if time.Since(start) > modelDeadline {
			return fmt.Errorf("nicsim does not listen within %v", modelDeadline)
		}
	}
}

func exists(files []string) bool {
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

func (m *model) stop() error { return m.child.stop(os.Interrupt, modelDeadline) }

// counters is the line of a port in nicsim --json.
type counters struct {
	Port   int
	Socket string
	MAC    string
	sim.Stats
}

// stats returns the model's counters, the reference of the tests.
func (p *port) stats(t *testing.T) counters {
	t.Helper()
	before := len(p.model.out.String())
	if err := p.model.child.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatalf("request the counters of nicsim: %v", err)
	}
	deadline := time.Now().Add(modelDeadline)
	for time.Now().Before(deadline) {
		d := json.NewDecoder(strings.NewReader(p.model.out.String()[before:]))
		for {
			var c counters
			if d.Decode(&c) != nil {
				break
			}
			if c.Port == p.index {
				return c
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nicsim does not print its counters within %v\n%s", modelDeadline, p.log())
	return counters{}
}

// log returns the messages of nicsim.
func (p *port) log() string { return p.model.err.String() }

// addr returns the NIC's PCI address in the VM, such as 0000:01:00.0.
func (p *port) addr(t *testing.T) string {
	t.Helper()
	out := p.vm.run(t, fmt.Sprintf("cd /sys/devices/pci0000:00/0000:00:%02x.0 && echo 0000:*:00.0", firstSlot+p.slot))
	return strings.TrimSpace(out)
}
