package doctor

import (
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

// WriteText writes the report for people: ports, then checks; below each that is
// not in order why it matters and how to mend it. Lines have at most 100 columns,
// but for commands, which stay in one piece to be copied.
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
		row("interface", "none, it was "+p.FormerInterface)
	case len(p.Links) == 0:
		row("interface", "none")
	}
	driver := p.Driver
	if driver == "" {
		driver = "none"
	}
	row("driver", driver)
	if p.NUMANode < 0 {
		row("NUMA node", "not known, so any")
	} else {
		row("NUMA node", fmt.Sprint(p.NUMANode))
	}
	group := fmt.Sprint(p.Group)
	if p.Group == pci.NoGroup {
		group = "none"
	}
	for i, peer := range p.Peers {
		held := peer.Driver
		if held == "" {
			held = "no driver"
		}
		group += map[bool]string{true: ", with ", false: ", "}[i == 0] + fmt.Sprintf("%s (%s)", peer.Address, held)
	}
	row("IOMMU group", group)
}

func (l LinkState) text() string {
	switch {
	case !l.Up:
		return "switched off (its link shows once it is up)"
	case !l.Carrier:
		return "up, no link"
	case l.Mbps == 0:
		return "up, link of unknown speed"
	case l.Mbps%1000 == 0:
		return fmt.Sprintf("up, link at %d Gb/s", l.Mbps/1000)
	}
	return fmt.Sprintf("up, link at %d Mb/s", l.Mbps)
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

// wrap writes text behind a label, and goes on below its start where the line is full.
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
