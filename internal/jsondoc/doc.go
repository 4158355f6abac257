// Package jsondoc compares the tables of docs/JSON.md with the structs that are
// marshalled.
//
//	docs/JSON.md, "## section", "### title" and its table ─┐
//	map from titles to struct types ───────────────────────┴─► Check ─► differences
package jsondoc
