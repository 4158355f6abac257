// Package asynclog takes the writing of log messages off the goroutines that log: a
// terminal that is stopped, a pipe that is not read or a full disk delays no capture.
//
//	log.Warn ─► handler ─► Queue: 4096 messages, 1 MiB ─► one goroutine ─► the user's slog.Handler, or a file
//	                         └─► full: dropped, counted, and told by a later message
//
// Every constructor of this module that gets a logger passes it through Wrap.
package asynclog
