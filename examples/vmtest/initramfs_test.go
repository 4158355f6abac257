//go:build vmtest

package vmtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ixcap/ixcap/examples/vmtest/internal/cpio"
)

// kernels are the names of all kernels.
var kernels = []string{"6.1", "7.2", "iommufd"}

// bootImage is the initramfs of a kernel: user space, modules, programs. All VMs of a run
// share it.
type bootImage struct {
	once sync.Once
	path string
	err  error
}

var bases = map[string]*bootImage{"6.1": {}, "7.2": {}, "iommufd": {}}

func initramfs(kernel string) (string, error) {
	b := bases[kernel]
	if b == nil {
		return "", fmt.Errorf("unknown kernel %q: want 6.1, 7.2 or iommufd", kernel)
	}
	b.once.Do(func() {
		b.path = filepath.Join(scratch, "initramfs-"+kernel)
		b.err = writeInitramfs(b.path, kernel)
	})
	return b.path, b.err
}

func writeInitramfs(path, kernel string) (err error) {
	dir := filepath.Join(vmDir, "kernel", kernel)
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return err
	}
	version := string(bytes.TrimSpace(release))

	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	defer func() {
		for _, end := range []func() error{b.Flush, f.Close} {
			if e := end(); err == nil {
				err = e
			}
		}
	}()
	w := cpio.NewWriter(b)
	if err := w.Tree(filepath.Join(vmDir, "userland")); err != nil {
		return err
	}
	// In the VM lib is a link to usr/lib.
	if err := w.TreeAt("usr/lib/modules/"+version, filepath.Join(dir, "lib/modules", version)); err != nil {
		return err
	}
	if err := writeApplets(w); err != nil {
		return err
	}
	if err := writeOwn(w); err != nil {
		return err
	}
	return w.Close()
}

// writeApplets adds links to busybox for programs that no package contains.
func writeApplets(w *cpio.Writer) error {
	root := filepath.Join(vmDir, "userland/usr")
	out, err := exec.Command(filepath.Join(root, "bin/busybox"), "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	for _, name := range strings.Fields(string(out)) {
		_, bin := os.Lstat(filepath.Join(root, "bin", name))
		_, sbin := os.Lstat(filepath.Join(root, "sbin", name))
		if bin == nil || sbin == nil {
			continue
		}
		if err := w.Link("usr/bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

// writeOwn adds the programs and files of the tests.
func writeOwn(w *cpio.Writer) error {
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "share", "root", "etc", "mnt", "var", "home", "home/probe",
		"usr/local", "usr/local/bin", "usr/local/sbin"} {
		if err := w.Dir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := w.Device("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	for _, name := range vmPrograms {
		name = filepath.Base(name)
		if err := w.Copy("usr/local/bin/"+name, 0o755, filepath.Join(programs, name)); err != nil {
			return err
		}
	}
	for to, from := range map[string]string{
		"usr/local/bin/vfio-bind": "../vfio-bind",
		"init":                    "testdata/init",
		"usr/local/sbin/modprobe": "testdata/modprobe",
		"usr/local/bin/testpmd":   "testdata/testpmd",
	} {
		if err := w.Copy(to, 0o755, from); err != nil {
			return err
		}
	}
	for _, name := range []string{"passwd", "group"} {
		if err := w.Copy("etc/"+name, 0o644, "testdata/"+name); err != nil {
			return err
		}
	}
	return nil
}
