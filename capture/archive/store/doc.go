// Package store is the common part of the storers: folders that may fail and
// recover, files with temporary names, counters. Package rawstore writes a stream
// byte by byte to RAW files with it, package pcapstore packet by packet to pcap and
// pcapng files.
//
//	rawstore.Storer ─┐             ┌─► DirWriter A ─► File NAME.SUFFIX.part ── Publish ──► NAME.SUFFIX
//	                 ├─ Dirs.Create┤
//	pcapstore.Storer ┘             └─► DirWriter B ─► File ...
//	                                     │ write error: Dirs.Fail
//	                                     ▼
//	                        degraded: one attempt per retry interval; Dirs.Recovered after a good write
//
// A file has its temporary name, and is locked (flock), until it is closed. A
// write error ends its file only: the storer counts what it cannot store (Losses,
// by errno) and begins another file after the retry interval, in another folder at
// once if there is one.
package store
