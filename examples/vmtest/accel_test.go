//go:build vmtest

package vmtest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const probeDeadline = 8 * time.Second // a kernel boots faster with KVM

// findAccel returns kvm if a kernel boots with it, else tcg. A failing probe takes
// seconds, so the result is cached until the host reboots.
func findAccel(ctx context.Context) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return probeAccel(ctx)
	}
	boot = bytes.TrimSpace(boot)
	file := filepath.Join(filepath.Dir(vmDir), "accel")
	if b, err := os.ReadFile(file); err == nil {
		if of, answer, ok := strings.Cut(strings.TrimSpace(string(b)), " "); ok && of == string(boot) {
			return answer
		}
	}
	answer := probeAccel(ctx)
	// Without the file the next run probes again.
	_ = os.WriteFile(file, []byte(string(boot)+" "+answer+"\n"), 0o644)
	return answer
}

// probeAccel boots a kernel without root file system until it panics. The existence of
// /dev/kvm does not prove that KVM works.
func probeAccel(ctx context.Context) string {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	f.Close()
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	cmd := qemuCommand(ctx, "-accel", "kvm", "-machine", "q35,kernel-irqchip=split", "-cpu", "max", "-smp", "2", "-m", "512",
		"-display", "none", "-nodefaults", "-net", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-kernel", filepath.Join(vmDir, "kernel/6.1/vmlinuz"), "-append", "console=ttyS0 panic=-1")
	booted := make(chan struct{})
	var once sync.Once
	cmd.Stdout = &transcript{seen: func(line string) {
		if strings.Contains(line, "Unable to mount root fs") {
			once.Do(func() { close(booted) })
		}
	}}
	c, err := startChild("qemu", cmd, -1)
	if err != nil {
		return "tcg"
	}
	defer func() { _ = c.stop(os.Kill, time.Second) }()
	select {
	case <-booted:
		return "kvm"
	case <-c.done:
	case <-ctx.Done():
	}
	return "tcg"
}
