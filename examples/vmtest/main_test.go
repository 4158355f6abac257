//go:build vmtest

package vmtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Shared by all tests, set by TestMain.
var (
	vmDir    string // the cached VM, see .ci/vm
	programs string // folder of programs, built for this run
	scratch  string // short, because paths of sockets are limited to 107 bytes
	runEnds  time.Time
	fault    = flag.String("fault", os.Getenv("FAULT"), "break every model: the `name` of a fault, as nicsim takes it")
	accel    = flag.String("accel", "auto", "QEMU's accelerator: tcg, kvm, or auto for kvm where it runs")
)

// vmPrograms are the programs of ../ in the PATH of every VM.
var vmPrograms = []string{"hpcapdd", "nicstat", "raw2pcap", "doctor", "vmtest/agentd"}

// runDeadline is the time limit of the run, unless -test.timeout is less.
const runDeadline = 30 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		status = 1
	}
	os.Exit(status)
}

func runAll(m *testing.M) (status int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("network namespaces need root: sudo make vmtest")
	}
	start := time.Now()
	runEnds = start.Add(runDeadline)
	if d, ok := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); ok && d > time.Minute {
		runEnds = start.Add(min(runDeadline, d-30*time.Second)) // time for the output
	}
	ctx, cancel := context.WithDeadline(context.Background(), runEnds)
	defer cancel()

	if scratch, err = makeScratch(tempRoot()); err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	removeWhenInterrupted(scratch)
	if vmDir, err = findVM(ctx); err != nil {
		return 0, err
	}
	programs = filepath.Join(scratch, "bin")
	if err := buildPrograms(ctx); err != nil {
		return 0, err
	}
	if *accel == "auto" {
		*accel = findAccel(ctx)
	}
	fmt.Printf("programs built, QEMU accelerator %s\n", *accel)
	if *fault != "" {
		fmt.Printf("every model has the fault %s\n", *fault)
	}
	status = m.Run()
	return summary(status, time.Since(start)), nil
}

// findVM returns the folder of the VM, which .ci/vm builds unless it is cached.
func findVM(ctx context.Context) (string, error) {
	if dir := os.Getenv("IXCAP_VM"); dir != "" {
		return dir, nil
	}
	cmd := exec.CommandContext(ctx, "../../.ci/vm")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf(".ci/vm: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildPrograms builds the programs that run on the host and in the VM. They are static,
// because the VM has another C library.
func buildPrograms(ctx context.Context) error {
	if err := os.Mkdir(programs, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-ldflags=-s -w", "-o", programs + "/", "../nicsim"}
	for _, name := range vmPrograms {
		args = append(args, "../"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
