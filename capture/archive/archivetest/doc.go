// Package archivetest generates stored traffic for the tests of packages that read or
// index it: flows with all the headers that a filter can ask for, their records, and
// RAW files of them.
//
//	RandomFlow ──► Flow.Frame ──► Record ──► Traffic ──► Raw ──► Put
package archivetest
