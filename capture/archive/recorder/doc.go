// Package recorder runs a capture to disk: an engine, and a storer for each recorded
// queue.
//
//	port ─► Engine ─► stream 0 ─► storer 0 ─► DIR/*-q00-*.raw
//	               ─► stream 1 ─► storer 1 ─► DIR/*-q01-*.raw
//
// New attaches all storers before the engine starts, so that the files have every
// frame of the streams. When Run returns, all received frames are on disk, or the
// ledger counts those that are not.
package recorder
