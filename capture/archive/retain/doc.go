// Package retain keeps stored traffic within limits, and puts in order what a
// crash left behind.
//
//	folders ── list ──► files, free space ── Plan ──► which to delete, oldest first ── Keep ──► told, counted
//
// The limits are a total size, an age and the space that stays free on each file
// system. They hold for all ports and queues of the folders together, whichever
// run stored them. A file goes with its index; nothing goes that is not named as
// the storers name files (package store). Never is more deleted than the limits
// need: Plan decides, and it is a function of what it is given alone.
//
// Two kinds of file are spared, by their flock: one being written, which its
// storer holds exclusively, and one being read by a search, which shares it
// (package index). The next oldest goes in place of a spared one.
//
// Old is what its name says was captured first, by the stamp of its first record.
// Stamps more than a day ahead of the clock are from a time when the clock was
// wrong, and older than what is captured now, whatever they say. The age of a file
// is that of its last record, for which its time of change stands.
//
// Recover closes what a killed run left unfinished after the last whole record. It
// knows by the flock, too, what is being written, so it may work while captures
// of this or other programs run.
package retain
