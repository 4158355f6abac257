package doctor

import (
	"encoding/json"
	"io"

	"github.com/ixcap/ixcap/pci"
)

// WriteJSON writes the report in the format of docs/JSON.md.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// MarshalJSON encodes the report and whether it is Ready.
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Ready   bool    `json:"ready"`
		Device  string  `json:"device"`
		Ports   []Port  `json:"ports"`
		Checks  []Check `json:"checks"`
		Pages1G bool    `json:"pages_1gib"`
		Cores   []int   `json:"isolated_cores"`
	}{r.Ready(), r.Device, r.Ports, r.Checks, r.Pages1G, orEmpty(r.Cores)})
}

// MarshalJSON encodes the port with its function's fields.
func (p Port) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Address         pci.Address `json:"address"`
		ID              string      `json:"id"`
		Model           string      `json:"model"`
		Driver          string      `json:"driver"`
		NUMANode        int         `json:"numa_node"`
		Interfaces      []LinkState `json:"interfaces"`
		FormerInterface string      `json:"former_interface"`
		Group           int         `json:"iommu_group"`
		Peers           []GroupPeer `json:"iommu_group_peers"`
	}{p.Address, p.ID.String(), p.Model, p.Driver, p.NUMANode, orEmpty(p.Links), p.FormerInterface, p.Group, orEmpty(p.Peers)})
}

// orEmpty returns a list that is encoded as [] instead of null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
