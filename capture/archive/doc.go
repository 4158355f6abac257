// Package archive defines the names, locks and listing of stored files. The
// packages below it write, read, index and delete these files.
//
//	port, queue, stamp, number ── FileName ──► 20261121T140000.123456789Z-eth2-q03-000017
//	                                             .raw                  RAW file      ┐
//	                                             .pcap, .pcapng[.zst]  packet file   ├─ + .part while it is written
//	                                             .idx                  sidecar of a RAW file
//	                                             FILE.cut              what a repair cut off FILE
//	folders ── List, ReadFolder ──► File, Name
//
// A writer locks a file exclusively (flock) as long as the file has its temporary
// name, a reader shares the lock as long as it may still read the file, and a
// program that changes a file needs the exclusive lock. The kernel releases the lock
// of a process that dies. Deleting a file needs no lock.
package archive
