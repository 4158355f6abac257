//go:build vmtest

package vmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// machine describes a VM.
type machine struct {
	Kernel string // "6.1", "7.2": Debian's, with VFIO groups only; "iommufd": with iommufd and the VFIO cdev
	NICs   []nic
	Memory string // "": "1G"

	// Memlock is the limit of locked memory of users, for ulimit -l: KiB or
	// "unlimited"; "": the kernel's default.
	Memlock string

	// AddressBits is the address width of the IOMMU: 39 or 48; 0: QEMU's default.
	AddressBits int

	// NoIOMMU disables the IOMMU in the kernel.
	NoIOMMU bool

	// Append is appended to the kernel's command line.
	Append string

	// DPDK adds Debian 12's DPDK, for the command testpmd.
	DPDK bool

	// IPXE starts iPXE instead of a kernel. No agent runs then.
	IPXE bool
}

// firstSlot is the slot of rp0 on the root bus, as in agentd.
const firstSlot = 0x10

// qemuCommand runs QEMU with the loader and the libraries of the cache, which are of
// another release than the host's.
func qemuCommand(ctx context.Context, args ...string) *exec.Cmd {
	root := filepath.Join(vmDir, "qemu")
	lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	args = append([]string{"--library-path", lib, filepath.Join(root, "usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(root, "usr/share/qemu"), "-L", filepath.Join(root, "usr/share/seabios")}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(root, "lib64/ld-linux-x86-64.so.2"), args...)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(lib, "qemu"))
	return cmd
}

// command returns the command that boots the VM with the ports of models.
func (m machine) command(ctx context.Context, initrd, dir, share string, ports []*port) (*exec.Cmd, error) {
	memory := m.Memory
	if memory == "" {
		memory = "1G"
	}
	accelerator := *accel
	if accelerator == "tcg" {
		accelerator = "tcg,thread=multi"
	}
	unit := "intel-iommu,intremap=on,caching-mode=on"
	if m.AddressBits > 0 {
		unit += fmt.Sprintf(",aw-bits=%d", m.AddressBits)
	}
	args := []string{"-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", memory,
		"-machine", "q35,kernel-irqchip=split,memory-backend=mem",
		"-object", "memory-backend-memfd,id=mem,size=" + memory + ",share=on",
		"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
		"-nodefaults", "-net", "none", "-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-qmp", "unix:" + filepath.Join(dir, "qmp"), "-device", unit}
	if m.IPXE {
		// The firmware's screen is the serial port.
		args = append(args, "-machine", "graphics=off", "-kernel", filepath.Join(vmDir, "ipxe/ipxe.lkrn"))
	} else {
		args = append(args, "-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path="+filepath.Join(dir, "agent"),
			"-device", "virtserialport,chardev=agent,name=ixcap",
			"-virtfs", "local,path="+share+",mount_tag=share,security_model=none,multidevs=remap",
			"-kernel", filepath.Join(vmDir, "kernel", m.Kernel, "vmlinuz"), "-initrd", initrd, "-append", m.options())
	}
	if m.DPDK {
		args = append(args, "-virtfs", "local,path="+filepath.Join(vmDir, "dpdk")+",mount_tag=dpdk,security_model=none,readonly=on")
	}
	for i, p := range ports {
		device, err := json.Marshal(map[string]any{"driver": "vfio-user-pci", "id": fmt.Sprintf("nic%d", i), "bus": fmt.Sprintf("rp%d", i),
			"socket": map[string]string{"path": p.socket, "type": "unix"}})
		if err != nil {
			return nil, err
		}
		// Without a power controller and without ACPI's eject, the VM cannot power
		// off a slot after it has released a device: QEMU 11.1 aborts when it
		// finalizes a vfio-user-pci device (vfio_user_msix_teardown). The VM's kernel
		// does the same in both cases.
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=rp%d,chassis=%d,slot=%d,addr=%#x,power_controller_present=off", i, i+1, i+1, firstSlot+i),
			"-device", string(device))
	}
	return qemuCommand(ctx, args...), nil
}

// options returns the kernel's command line.
func (m machine) options() string {
	iommu := "on"
	if m.NoIOMMU {
		iommu = "off"
	}
	return "ixcap.vm console=ttyS0 panic=-1 loglevel=5 intel_iommu=" + iommu +
		// An emulated processor on a busy host may stop for seconds. Linux would then distrust
		// the TSC and read the HPET, which QEMU emulates, for each time.
		" tsc=reliable no_timer_check nosoftlockup nowatchdog rcupdate.rcu_cpu_stall_suppress=1 " + m.Append
}
