// Package topology says where threads that never pause had best run: which cores
// a machine has, which of them the kernel keeps free, which share one core's
// units (hyperthreads), and what the kernel lets a real-time thread have.
//
//	/sys/devices/system/{cpu,node}, /proc/sys/kernel, /proc/self
//	      │ Read(root)                      │ ReadRealTime(root)
//	      ▼                                 ▼
//	   Machine ── Choose(pollers) ──► a core for each, and why
//
// It only reads files below a root folder, so it is tested on folders.
package topology
