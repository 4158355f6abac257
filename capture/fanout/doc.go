// Package fanout divides the frames of a stream among the members of up to eight
// groups: each frame goes to one member of every group.
//
//	text ─ ParseSettings ─▶ Settings ─▶ Group ─ Set ─▶ snapshot
//	                                                      │
//	entries and records of a batch ──────────────────▶ Assign ─▶ Entry.Member, counts
package fanout
