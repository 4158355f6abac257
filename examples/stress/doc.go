// Stress captures at full speed while listeners, goroutines and processes, come and
// go at random: they attach, read, detach, are stopped, are killed, write random
// bytes to their cursors, and have their policy changed; the filter changes too. It
// fails if a frame, a descriptor or a mapping is not accounted for.
//
//	stress [--duration 10m] [--size 60] [--queues 1] [--listeners 8] [--zero-copy] [--seed N]
//
//	              ┌─> reference reader: lossless, in this process, reads every frame
//	model ─> capture ─> clients: goroutines and processes, attached over the socket
//	              └─< events: every few milliseconds one of them, at random
//
// Checks, during the run and at the end:
//
//   - every frame that a listener reads was sent by the generator, in order, with
//     stamps that do not go back;
//   - the counters of a listener equal those of its stream;
//   - the reference reader has read every frame that was stored;
//   - the ledger balances;
//   - there are no more descriptors and mappings than before.
package main
