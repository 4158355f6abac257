// Package control shows and changes captures while they run: HTTP with JSON over a
// UNIX socket, whose file mode restricts who may connect.
//
//	Client, or curl --unix-socket PATH http://ixcap/v1/status
//	   │
//	   ▼
//	UNIX socket ─► Server ─► counters of Engine and Stream
//	                    └──► SetRules, SetFilters, SetPolicy, Detach, Rotate
//
//	GET    /v1/status                       Status: port, rate, clock, queues
//	GET    /v1/listeners                    Listeners: attached, and the last detached
//	GET    /v1/listeners/{listener}         Listener
//	DELETE /v1/listeners/{listener}         detaches a listener; Listener, as it was detached
//	PUT    /v1/listeners/{listener}/policy  {"policy":"lossless,detach-after=2s"}; Listener
//	GET    /v1/rules                       Rules: the rules of each queue with their counters
//	PUT    /v1/rules[?queue=N]             {"rules":"..."} of queue N or of all, "none" keeps everything; Rules
//	GET    /v1/filters                      Filters: those of an 82599 itself, and what software does of them
//	PUT    /v1/filters                      {"filters":"(udp) drop"}, "none" removes them; Filters
//	GET    /v1/ledger                       capture.Ledger, as hpcapdd prints it
//	GET    /v1/module                       Module: that of an 82599's cage, and what it measures
//	POST   /v1/blink                        {"for":"10s"}; makes its LED blink
//	GET    /v1/counters                     Counters: those of the port's device
//	GET    /v1/ports                        Ports
//	POST   /v1/rotate                       begins new files; Ports: those that store
//
// Where several ports are captured, ?port=NAME selects one; rotate without it means
// all.
//
// A {listener} is QUEUE:ID, or its name where only one attached listener has that
// name; other characters than plain letters are escaped as in any URL. A policy is
// lossless, lossy, or lossless,detach-after=DURATION. Rules are those of package
// rules, filters those of package hwfilter. An empty value is an error.
//
// docs/JSON.md lists the keys of all documents. A request that fails gets
// {"error":"..."}, one sentence with what to do: 400 for what cannot be parsed, 404
// for what does not exist, 405 for a method that the path does not have, 409 for a
// name that several listeners have and for what the capture cannot do now, 413 for
// a body beyond 1 MiB.
//
// The receive path is not involved: a request reads counters and takes the locks of
// attaching and detaching.
package control
