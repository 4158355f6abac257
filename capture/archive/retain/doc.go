// Package retain keeps stored traffic within limits, and repairs what a crash left.
//
//	folders ── list ──► files, free space ── Plan ──► files to delete, oldest first ── Clean ──► OnEvent, Stats
//	folders ── Recover ──► unfinished files closed, orphans deleted
//
// The limits are a total size, an age and the free space of each file system. They
// hold for all ports and queues of the folders together, whichever run stored them.
// A file is deleted with its index. Only files with names of package archive are
// deleted, and never more than the limits require: Plan is a pure function.
//
// Two kinds of files are spared, by their flock: files being written, which the
// storer locks exclusively, and files that a search reads, which share the lock.
// The next oldest file is deleted instead.
//
// The order is that of the stamps in the names, of the first records. Stamps more
// than a day ahead of the clock come from a wrong clock, and count as the oldest.
// The age of a file is that of its last record, for which its time of change is
// taken.
//
// Recover may run while captures of this or other programs run: a file with the
// flock is being written.
package retain
