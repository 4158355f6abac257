package doctor

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/ixcap/ixcap/pci"
)

const (
	textWidth = 100 // columns
	nameWidth = 16  // of a check
	markWidth = 9
)

// WriteText writes the report as text: the ports, then the checks, with reason and
// fix below each check that is not OK. Lines have at most 100 columns, except
// commands, which are not wrapped.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, p := range r.Ports {
		p.text(&b)
	}
	if r.Device != "" {
		fmt.Fprintf(&b, "\nchecks for %s\n", r.Device)
	}
	for _, c := range r.Checks {
		c.text(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Port) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s  %s [%s]\n", p.Address, p.Model, p.ID)
	row := func(name, text string) { wrap(b, fmt.Sprintf("  %-*s  ", 11, name), text) }
	for _, l := range p.Links {
		row("interface", l.Interface+", "+l.text())
	}
	switch {
	case p.FormerInterface != "":
		row("interface", "none (was "+p.FormerInterface+")")
	case len(p.Links) == 0:
		row("interface", "none")
	}
	row("driver", cmp.Or(p.Driver, "none"))
	if p.NUMANode < 0 {
		row("NUMA node", "unknown")
	} else {
		row("NUMA node", fmt.Sprint(p.NUMANode))
	}
	group := fmt.Sprint(p.Group)
	if p.Group == pci.NoGroup {
		group = "none"
	}
	if len(p.Peers) > 0 {
		group += ", with " + peerList(p.Peers)
	}
	row("IOMMU group", group)
}

// String returns the function's address and driver.
func (p GroupPeer) String() string {
	return fmt.Sprintf("%s (%s)", p.Address, cmp.Or(p.Driver, "no driver"))
}

func peerList(peers []GroupPeer) string {
	var words []string
	for _, p := range peers {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func (l LinkState) text() string {
	switch {
	case !l.Up:
		return "down (link state unknown)"
	case !l.Carrier:
		return "up, no carrier"
	case l.Mbps == 0:
		return "up, carrier, speed unknown"
	case l.Mbps%1000 == 0:
		return fmt.Sprintf("up, carrier, %d Gb/s", l.Mbps/1000)
	}
	return fmt.Sprintf("up, carrier, %d Mb/s", l.Mbps)
}

func (c Check) text(b *strings.Builder) {
	mark := string(c.State)
	if c.State == Failed {
		mark = "FAILED"
	}
	wrap(b, fmt.Sprintf("%-*s%-*s", markWidth, mark, nameWidth, c.Name), c.Found)
	indent := strings.Repeat(" ", markWidth)
	if c.Why != "" {
		wrap(b, indent+"  why  ", c.Why)
	}
	if c.Fix != "" {
		for i, line := range strings.Split(c.Fix, "\n") {
			label := map[bool]string{true: "  fix  ", false: "       "}[i == 0]
			fmt.Fprintf(b, "%s%s%s\n", indent, label, line)
		}
	}
}

// wrap writes text after a label, and continues below the text's start where a line
// is full.
func wrap(b *strings.Builder, label, text string) {
	line := label
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && len(line)+1+len(word) > textWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = strings.Repeat(" ", len(label)), true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
