package pci

import (
	"encoding/json"
	"io"
)

// MarshalText is the address as the kernel writes it.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// WriteJSON writes the report, and whether it is Ready, for programs.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Ready bool
		Report
	}{r.Ready(), r})
}
