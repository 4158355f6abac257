// Package control shows and changes a capture while it runs: HTTP with JSON
// over a UNIX socket, whose file mode says who may.
//
//	ServePorts(ports, path, Config) ◄── UNIX socket ──► Client, or curl --unix-socket PATH http://ixcap/v1/status
//
//	GET    /v1/status                       Status: port, rates, clock, each queue
//	GET    /v1/listeners                    Listeners: attached now, and the last that left
//	GET    /v1/listeners/{listener}         Listener
//	DELETE /v1/listeners/{listener}         lets a listener go; Listener, as it left
//	PUT    /v1/listeners/{listener}/policy  {"policy":"lossless,detach-after=2s"}; Listener
//	GET    /v1/filter                       Filters: the rules of each queue, and what each did
//	PUT    /v1/filter[?queue=N]             {"rules":"..."} of queue N or of all; no rules: keep everything; Filters
//	GET    /v1/ledger                       capture.Ledger with its verdict, as hpcapdd --json prints it
//	GET    /v1/ports                        Ports: what is captured here
//	POST   /v1/rotate                       new files begin; Ports: those of which
//
// Where several ports are captured ?port=NAME says which one is meant; without it
// rotate means all of them.
//
// A {listener} is QUEUE:ID, or its name where only one listener attached has
// it; a name that is not made of plain letters is escaped as in any URL. A
// policy is lossless, lossy, or lossless,detach-after=TIME. Rules are what package
// filter parses.
//
// Units are part of the names: _ns are nanoseconds, _bytes bytes; times are RFC
// 3339. Counters only grow. A request that cannot be served gets
// {"error":"..."}, one sentence that says what to do: 400 for what makes no
// sense, 404 for what is not there, 405 for a method that the path does not
// have, 409 for a name that several listeners have and for what the capture
// cannot do now, 413 for a body beyond 1 MiB.
//
// Nothing in here is on the receive path: a request reads counters and takes the
// locks of those who attach and detach.
package control
