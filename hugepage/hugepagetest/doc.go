// Package hugepagetest provides huge pages for tests and benchmarks:
//
//	Reserve(t, size, node, n)   pool + n ... test ... pool - n
//
// As root it changes the kernel's pool and restores it at the end of the test;
// otherwise enough pages must be free, or the test is skipped with the command that
// reserves them.
package hugepagetest
