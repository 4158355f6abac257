// Package e2e holds end-to-end tests of the programs, and nothing else.
//
//	generator or pcap file ─► model ─► driver ─► engine ─► storer ─► files
//	                            │                  │                   │
//	                          Stats             streams ─► clients   RAW reader, tshark
//	                            └─────────── must agree ───────────────┘
package e2e
