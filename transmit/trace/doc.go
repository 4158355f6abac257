// Package trace replays captured frames: files and archives are read into memory, edited,
// and sent at their recorded times or at a rate.
//
//	Request ─► Load: query.Find, edits ─► Trace ─► NewPlayer ─► transmit.Source
package trace
