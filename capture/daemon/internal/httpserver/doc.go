// Package httpserver runs the HTTP servers of control and metrics, with the same
// bounds on clients.
//
//	listener ─► Server ─► handler
//	              ▲
//	              └─ Close: waits for the requests under way, at most 2 s
package httpserver
