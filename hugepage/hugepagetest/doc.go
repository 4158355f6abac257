// Package hugepagetest gets tests and benchmarks the huge pages they need.
//
// In goes a number of pages; they are free while the test runs:
//
//	Reserve(t, size, node, n)   pool + n ... test ... pool - n
//
// As root it changes the kernel's pool and changes it back; otherwise free pages
// must be there already, or the test is skipped with the command that helps.
package hugepagetest
