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

// What the whole run shares, set once by TestMain.
var (
	vmDir    string // the cached machine, see .ci/vm
	programs string // the folder of the project's programs, built for this run
	scratch  string // short: sockets live below it, and their paths are limited to 107 bytes
	runEnds  time.Time
	fault    = flag.String("fault", os.Getenv("FAULT"), "break every model: the `name` of a fault, as nicsim takes it")
	accel    = flag.String("accel", "auto", "QEMU's accelerator: tcg, kvm, or auto for kvm where it runs")
)

// inGuest are the programs of ../ that are in every guest's PATH.
var inGuest = []string{"hpcapdd", "raw2pcap", "doctor", "vmtest/guest"}

// runDeadline is for the whole run, unless -test.timeout says less.
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
		return 0, errors.New("the wires are network namespaces, which take root: sudo make vmtest")
	}
	start := time.Now()
	runEnds = start.Add(runDeadline)
	if d, ok := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); ok && d > time.Minute {
		runEnds = start.Add(min(runDeadline, d-30*time.Second)) // time to say why
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
	fmt.Printf("built the programs, QEMU runs by %s\n", *accel)
	if *fault != "" {
		fmt.Printf("every model has the fault %s\n", *fault)
	}
	status = m.Run()
	return summary(status, time.Since(start)), nil
}

// findVM asks .ci/vm, which builds the machine unless it is there.
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

// buildPrograms builds what runs beside the guest and in it: static, since the
// guest has another C library than this machine.
func buildPrograms(ctx context.Context) error {
	if err := os.Mkdir(programs, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-ldflags=-s -w", "-o", programs + "/", "../nicsim"}
	for _, name := range inGuest {
		args = append(args, "../"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
