// Package vmtest tests the project in virtual machines: Linux's own drivers on
// the software 82599, and ours over the kernel's VFIO behind an IOMMU. The tests
// have the build tag vmtest; "make vmtest" builds the machine and runs them.
//
//	test ──socket── nicsim ──wire── a network namespace, a capture, another port
//	  │               │
//	  │            vfio-user
//	  │               │
//	  ├──console──  QEMU: root ports rp0.. ── nic0.., intel-iommu
//	  ├──QMP─────     │
//	  └──virtio-serial── guest: init, agent (./guest), the project's programs
//
// A test boots a machine, runs commands in its guest and looks at what comes out:
//
//	g := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "packet=" + n.Wire}}})
//	step(t, "ping", func(t *testing.T) { g.run(t, "ping -c 3 192.0.2.1") })
//
// QEMU, kernels and user land come from Debian packages in a cache that .ci/vm
// builds. Nothing of it is installed and nothing is left behind: QEMU and nicsim
// die with the test, namespaces and interfaces with the process that holds them.
package vmtest
