package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/ixcap/ixcap/capture/daemon/control"
)

// chipText writes what the chip of the port does besides receiving.
func (s status) chipText(w io.Writer) error {
	if len(s.Filters) > 0 {
		if err := filtersText(w, s.Filters); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(s.VFs) > 0 {
		return functionsText(w, s.Status)
	}
	return nil
}

// functionsText writes the virtual functions that a port offers, and its mirror rules.
func functionsText(w io.Writer, s control.Status) error {
	rows := [][]string{{"FUNCTION", "ADDRESS", "STATE", "MAILBOX", "VLANS", "GRANTED", "REQUESTS"}}
	for _, v := range s.VFs {
		state := "not in use"
		switch {
		case v.Disabled:
			state = "disabled"
		case v.Ready:
			state = "in use"
		}
		vlans := strings.Trim(fmt.Sprint(v.VLANs), "[]")
		if v.PortVLAN != 0 {
			vlans = fmt.Sprintf("%d of the port", v.PortVLAN)
		}
		var granted []string
		for _, g := range []struct {
			on   bool
			what string
		}{{v.Trusted, "trust"}, {!v.SpoofCheck, "spoof"}, {v.Promiscuous, "promiscuous"}, {v.AllMulticast, "all multicast"}} {
			if g.on {
				granted = append(granted, g.what)
			}
		}
		rows = append(rows, []string{
			fmt.Sprint(v.VF), v.MAC, state, v.API, cmp.Or(vlans, "-"), cmp.Or(strings.Join(granted, ", "), "-"),
			fmt.Sprintf("%d, %d refused", v.Requests, v.Refused),
		})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, m := range s.Mirrors {
		if _, err := fmt.Fprintf(w, "mirror rule %d: %s\n", m.Rule, m.Text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
