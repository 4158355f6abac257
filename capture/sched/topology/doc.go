// Package topology reads a machine's cores from sysfs and selects cores for polling
// threads: by NUMA node, isolation, timer tick and hyperthreads. It also reads the
// kernel's limits of real-time threads.
//
//	/sys/devices/system/{cpu,node}, /proc/sys/kernel, /proc/self
//	      │ Read(root)                      │ ReadRealTime(root)
//	      ▼                                 ▼
//	   Machine ── Choose(pollers) ──► a core for each, with the reason
//
// It reads files below a root folder and makes no other system call.
package topology
