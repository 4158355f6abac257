// Package nettest makes network namespaces and interfaces for tests. A test without the
// rights for them is skipped:
//
//	test ─► Pair ─► Namespace ─► Need ─► veth pair ixa, ixb, gone with the test's thread
package nettest
