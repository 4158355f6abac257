// Package e2e holds the end-to-end tests of the example programs; there is
// nothing in it but tests.
package e2e
