// Package value reads the words that settings are made of: sizes, times, kinds of
// pages, lists of cores, rules. Every type is a flag.Value and an
// encoding.TextUnmarshaler, so that a flag and a line of a file mean the same and
// are refused with the same words.
package value
