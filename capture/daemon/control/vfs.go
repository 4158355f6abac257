package control

import (
	"slices"

	"github.com/ixcap/ixcap/driver"
)

// Offering is a port that can offer virtual functions; nic.Port implements it.
type Offering interface {
	VFs() []driver.VFState
	Mirror(rule int, r driver.MirrorRule) error
	MirrorRules() map[int]driver.MirrorRule
}

// VF is a virtual function that a port offers.
type VF struct {
	VF           int      `json:"vf"`
	MAC          string   `json:"mac"`
	PortVLAN     uint16   `json:"port_vlan"` // its frames are in, without its knowing; 0: none
	Trusted      bool     `json:"trusted"`
	SpoofCheck   bool     `json:"spoof_check"`
	Disabled     bool     `json:"disabled"`
	Ready        bool     `json:"ready"`   // a driver uses it
	API          string   `json:"mailbox"` // version of the mailbox's messages
	VLANs        []uint16 `json:"vlans"`   // that it has joined
	Promiscuous  bool     `json:"promiscuous"`
	AllMulticast bool     `json:"all_multicast"`
	Requests     uint64   `json:"requests"` // messages
	Refused      uint64   `json:"refused"`  // of them
}

// Mirror is a mirror rule of a port.
type Mirror struct {
	Rule int    `json:"rule"`
	Text string `json:"text"`
}

// functions returns the port's virtual functions and mirror rules.
func (p *controlled) functions() (vfs []VF, mirrors []Mirror) {
	if p.Offering == nil {
		return nil, nil
	}
	for i, v := range p.Offering.VFs() {
		vfs = append(vfs, VF{
			VF: i, MAC: v.MAC.String(), PortVLAN: v.VLAN, Trusted: v.Trusted, SpoofCheck: !v.MaySpoof, Disabled: v.Disabled,
			Ready: v.Ready, API: v.API, VLANs: append([]uint16{}, v.VLANs...), Promiscuous: v.Promiscuous, AllMulticast: v.AllMulticast,
			Requests: v.Requests, Refused: v.Refused,
		})
	}
	for i, r := range p.Offering.MirrorRules() {
		mirrors = append(mirrors, Mirror{i, r.String()})
	}
	slices.SortFunc(mirrors, func(a, b Mirror) int { return a.Rule - b.Rule })
	return vfs, mirrors
}
