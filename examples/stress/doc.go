// Stress captures at full speed while listeners, threads of this process and
// processes of their own, come and go at random: they attach, read, detach, are
// stopped, are killed, write nonsense into their cursors, have their policy
// changed, and the filter changes under them. It fails when a frame, a
// descriptor or a mapping is not accounted for.
//
//	stress [--duration 10m] [--size 60] [--queues 1] [--listeners 8] [--seed N]
//
//	              ┌─> witness: lossless, in this process, sees every frame
//	model ─> capture ─> guests: goroutines and processes, attached over the socket
//	              └─> troubles: every few milliseconds one of them is hit
//
// What is checked, while it runs and at the end:
//
//   - every frame that a listener reads is one that the generator sent, in the
//     order in which it was sent, with stamps that do not go back;
//   - what a listener counted for itself is what its stream says of it;
//   - the witness read every frame that was stored;
//   - the ledger balances;
//   - as many descriptors are open, and as many mappings there, as before.
package main
