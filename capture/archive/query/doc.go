// Package query finds packets in stored traffic without reading all of it.
//
//	Request: time span, port, queue, filter, directories
//	   │
//	   ▼
//	Find: list and lock the files, skip those outside the span          result.go
//	   │
//	   ├─► cursor per RAW file: index ──► blocks that can match          raw.go
//	   ├─► cursor per packet file: seek table ──► packets from there on  packets.go
//	   ├─► cursor per run of live records, from a capture's memory       live.go
//	   ▼
//	Result.Next: merge by stamp ──► packets in order of time
//
// The index of a RAW file (package index) rules out blocks; a file without one, or whose
// index is damaged or belongs to other data, is read completely from there on. Live
// records are those that a running capture has in memory and not yet on disk
// (Request.Live). A query opens the files that it still has to read, and shares a lock
// on them, so that repair leaves them (archive.LockShared). A file that retention
// deletes during the query is read to its end, unless its space is reclaimed
// (archive.ErrReclaimed).
//
// At most as many files are open as the process may have (files.go). A query that
// follows a capture reads files on as they grow (follow.go).
//
// The order of the result relies on the names that package archive defines, and on
// stamps of one queue never going backwards.
package query
