// Package forward passes frames on from one port of the 82599 to another, both ways, or back
// through the same port. A frame stays where the device has written it:
//
//	port 0                                              port 1
//	driver.RxPool ──Capture──► frames of a chunk
//	     ▲                        │ drop, edit
//	     │                        ▼
//	     │                     TxBuffer.Attach ──Post──► driver.TxQueue ──► line
//	     └───────Recycle────── chunk, once Free has counted its buffers again
//
// Both devices have the pools in their address spaces. A path is one direction of one queue;
// queue i of a port sends what queue i of the other has received, so that flows keep their
// order. A Bridge has all paths, runs them, and reports what became of each frame.
//
// A path is a capture.Source, too: an engine that captures a port of Bridge.Tap stamps and
// copies the frames as they were received, and releasing them forwards them. So a tap in
// line needs no second capture.
package forward
