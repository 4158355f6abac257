// Package entry holds the layout of an entry of a stream's index, for packages that
// read or write entries and no stream.
package entry
