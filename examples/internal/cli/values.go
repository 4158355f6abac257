package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// lists are the types of values to which each use of their flag adds.
var lists = []string{"DIR"}

// once makes it an error to give a flag twice that has one value. A list and a flag
// without a value may be repeated.
func once(f *pflag.Flag) {
	_, list := f.Value.(pflag.SliceValue)
	_, done := f.Value.(*single)
	if !list && !done && f.Value.Type() != "bool" && !slices.Contains(lists, f.Value.Type()) {
		f.Value = &single{Value: f.Value}
	}
}

// single is a value that is set once.
type single struct {
	pflag.Value
	set bool
}

func (v *single) Set(text string) error {
	if v.set {
		return errors.New("the flag is given twice. Give it once")
	}
	v.set = true
	return v.Value.Set(text)
}

// MAC parses the station address that a flag has; nil stands for none.
func MAC(flag, text string) (*[6]byte, error) {
	if text == "" {
		return nil, nil
	}
	a, err := net.ParseMAC(text)
	if err != nil || len(a) != 6 {
		return nil, Usagef("%s %q: want six bytes such as 02:00:00:00:00:02", flag, text)
	}
	return (*[6]byte)(a), nil
}

// invalidValue is the usage error for a value that a flag does not take.
func invalidValue(err *pflag.InvalidValueError) error {
	name, cause := err.GetFlag().Name, err.Unwrap()
	number := (*strconv.NumError)(nil)
	if !errors.As(cause, &number) {
		return Usagef("--%s: %w", name, cause)
	}
	must := "must be a number"
	switch typ := err.GetFlag().Value.Type(); {
	case errors.Is(cause, strconv.ErrRange):
		must = "the number is too large"
	case strings.HasPrefix(typ, "uint"):
		must = "must be a number from 0"
	case typ == "bool":
		must = "must be true or false"
	}
	return Usagef("--%s %q: %s", name, err.GetValue(), must)
}

// singleDash returns a usage error if an argument is the name of a long flag behind one
// dash: -count would be -c with the value "ount".
func singleDash(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range append([]*cobra.Command{cmd}, cmd.Commands()...) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	}
	for _, arg := range args {
		if arg == "--" || strings.HasPrefix(arg, cobra.ShellCompRequestCmd) {
			return nil
		}
		word, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && len(word) > 1 && slices.Contains(names, word) {
			return Usagef("unknown flag: -%s. Did you mean --%s?", word, word)
		}
	}
	return nil
}

// Unexpected is the error for an operand of a command that takes none, or no more.
func Unexpected(cmd *cobra.Command, operand string) error {
	return fmt.Errorf("unexpected operand %q%s", operand, hint(cmd, operand))
}

// filterWords begin most filters.
var filterWords = []string{"arp", "dst", "ether", "greater", "host", "icmp", "icmp6", "ip", "ip6", "len", "less", "mpls", "net", "not", "port", "portrange", "proto", "sctp", "src", "tcp", "udp", "vlan"}

// hint is the suffix of a message about an operand that is a filter or a file: it names
// the flag for it.
func hint(cmd *cobra.Command, operand string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(operand, "( "), " ")
	_, err := os.Stat(operand)
	switch {
	case cmd.Flags().Lookup("filter") != nil && slices.Contains(filterWords, first):
		return ". Write a filter behind -f, in quotes: -f 'tcp port 80'"
	case cmd.Flags().Lookup("read") != nil && (err == nil || strings.HasSuffix(operand, ".raw")):
		return ". Write -r before each file and directory: -r A -r B"
	}
	return ""
}
