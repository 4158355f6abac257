// Package buddy shares the work of receive queues among the threads of one application, as the
// buddy groups of WireCAP do, in its advanced mode. The queues that an application
// reads form a Group. Each has a ring-buffer pool (driver.RxPool), whose chunks its capture
// thread puts into capture queues, and a consumer, which takes them from its own:
//
//	receive queue 0 ──Capture──► capture queue 0 ──Next──► consumer 0 ──Recycle──► pool 0
//	                       │                                                └────► pool 1
//	                       └── backlog above T ──┐
//	receive queue 1 ──Capture──► capture queue 1 ◄┘ ──Next──► consumer 1
//
// A capture queue is as long as the pool of its receive queue, R x M buffers, and its backlog is
// those of the chunks that wait in it. Above the part T of the length new chunks are moved:
// they go to another capture queue of the group, until the backlog is not above it. The parts of
// a chunk that is handed on before it is full stay together. What was moved stays in the packet
// buffers of the pool that has received it; any goroutine recycles it. No frame leaves its group.
//
// # Order
//
// Chunk.Queue, Moved and Number tell where a chunk comes from. The chunks of a receive queue
// are numbered in the order of their capture. What this means for a flow, whose frames all
// come through one receive queue, depends on the mode:
//
//   - Basic moves nothing: a flow has one consumer, and order.
//   - Chunks, WireCAP's advanced mode, moves whole chunks to the shortest queue. A flow may be
//     at several consumers at once. Who needs its order restores it by the numbers.
//   - Flows moves whole flows, as the device's RSS hash tells them apart. A chunk is handed on
//     as views, one for each capture queue that gets some of its frames. A flow has one
//     consumer at a time: those of its frames that were moved wait until the earlier ones are
//     recycled. Frames without a hash count as one flow of their receive queue.
//
// In mode Flows hashes are the same flow if they fall into the same of 4096 buckets. A bucket
// leaves a queue whose backlog is above T. The queue that it goes to is chosen by weighted
// rendezvous hashing, where the weight of a queue is its room, so a flow moves seldom and
// flows spread. It stays there until that queue is above T too, and is back at its own
// receive queue's after a pause as long as the pool. Earlier frames are found by epochs: every
// M frames or more one begins, which counts its views that are out. A view with frames of
// a moved bucket waits until all epochs up to the bucket's last one are empty. Epochs are few
// (64): a consumer that keeps a chunk for long delays what was moved, and stops moves once
// they are used up. It must not wait for the next chunk before it recycles the last one, and
// what was moved from a queue whose consumer has ended waits until the queue is closed.
//
// # Threads
//
// Queue.Capture is for one goroutine at a time, Queue.Next for another one. Recycle and Stats are
// for any. None of them locks, waits or allocates. A queue has one ring for each receive
// queue of the group, so each ring has one producer and one consumer.
package buddy
