// Package vmtest tests ixcap in virtual machines: the drivers of Linux, DPDK and iPXE on
// the software 82599, and the driver of ixcap over the kernel's VFIO behind an IOMMU. The
// tests have the build tag vmtest; "make vmtest" builds the VM and runs them.
//
//	test ──socket── nicsim ──wire── a network namespace, a capture, another port
//	  │               │
//	  │            vfio-user
//	  │               │
//	  ├──console──  QEMU: root ports rp0.. ── nic0.., intel-iommu
//	  ├──QMP─────     │
//	  └──virtio-serial── VM: init, agent (./agentd), programs
//
// A test boots a VM, runs commands in it and checks their output:
//
//	v := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "packet=" + n.Wire}}})
//	step(t, "ping", func(t *testing.T) { v.run(t, "ping -c 3 192.0.2.1") })
//
// iPXE boots without an agent: the console and the servers of its peer show what it does.
//
// QEMU, kernels, DPDK, iPXE and user space come from Debian packages in a cache that
// .ci/vm builds; nothing is installed. QEMU and nicsim end with the test, namespaces and
// interfaces with the process that uses them.
package vmtest
