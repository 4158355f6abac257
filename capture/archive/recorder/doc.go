// Package recorder runs a whole capture to disk: an engine, and a storer for each
// queue that is wanted.
//
//	port ─► Engine ─► stream 0 ─► storer 0 ─► DIR/*-q00-*.raw
//	               ─► stream 1 ─► storer 1 ─► DIR/*-q01-*.raw
//	            ▲
//	            └─ Rotate: by the clock, or when asked
//
// It begins with everybody attached, so that the files hold every frame stored,
// and ends in order: what was received is on disk when Run returns, or the ledger
// says how much is not.
package recorder
