package cli

import (
	"slices"

	"github.com/spf13/pflag"
)

// InOut are the input and output files of a conversion.
type InOut struct {
	Inputs []string
	Output string // "-" is standard output
	Force  bool   // replace an output that exists
}

// Flags defines -r, -w and --force.
func (f *InOut) Flags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.Inputs, "read", "r", nil, "read this `file`; - is standard input; may be repeated, operands are inputs too")
	flags.StringVarP(&f.Output, "write", "w", "", "write this `file`; - is standard output")
	flags.BoolVar(&f.Force, "force", false, "replace an output that exists")
}

// Operands takes the operands of the command line: inputs, or HPCAP's form "IN OUT"
// if there are two and neither -r nor -w. It returns whether it was HPCAP's form.
func (f *InOut) Operands(args []string) (hpcap bool, err error) {
	if f.Output == "" && len(f.Inputs) == 0 && len(args) == 2 {
		f.Inputs, f.Output, hpcap = args[:1], args[1], true
	} else {
		f.Inputs = append(f.Inputs, args...)
	}
	switch {
	case len(f.Inputs) == 0:
		return hpcap, Usagef("no input: name the files to read")
	case slices.Contains(f.Inputs, ""):
		return hpcap, Usagef("input \"\": the name is empty")
	}
	return hpcap, nil
}

// Create creates the output.
func (f *InOut) Create() (*Output, error) { return Create(f.Output, f.Inputs, f.Force) }
