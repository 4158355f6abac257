package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/units"
)

type filters struct{ control.Filters }

func (f filters) text(w io.Writer) error {
	dropped := units.Plural(f.Filtered, "frame")
	if len(f.Rules) == 0 {
		_, err := fmt.Fprintf(w, "no filters of the port; it has dropped %s by earlier ones\n", dropped)
		return err
	}
	if _, err := fmt.Fprintf(w, "the port has dropped %s by these filters and earlier ones\n", dropped); err != nil {
		return err
	}
	return filtersText(w, f.Rules)
}

// filtersText writes what of each filter is in the chip, and what software does of it.
func filtersText(w io.Writer, list []control.Filter) error {
	for _, f := range list {
		var chip []string
		for _, k := range f.Chip {
			chip = append(chip, units.Plural(k.Filters, k.Kind))
		}
		rows := [][]string{{"  in the chip", strings.Join(chip, ", ")}, {"  not in the chip", cmp.Or(strings.Join(f.Software, "; "), "nothing")}}
		if strings.HasSuffix(f.Rule, " drop") {
			rows = append(rows, []string{"  dropped by software", units.Plural(f.Dropped, "frame")})
		}
		fmt.Fprintf(w, "filter of the port: %s\n", f.Rule)
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}
