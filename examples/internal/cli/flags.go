package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupOf is the annotation of a flag with the heading that it stands under in --help.
const groupOf = "ixcap_group"

// Group adds flags to a command that stand under a heading of their own in --help.
func Group(cmd *cobra.Command, heading string, define func(flags *pflag.FlagSet)) {
	var flags pflag.FlagSet
	flags.SortFlags = false
	define(&flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[groupOf] = []string{heading}
	})
	cmd.Flags().AddFlagSet(&flags)
}

// NotEmpty returns a usage error if a text flag of the command line has a value that is
// empty or white space: an unset variable in a script must not mean "all".
func NotEmpty(cmd *cobra.Command) error {
	var empty error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		switch v := f.Value.(type) {
		case pflag.SliceValue:
			values = v.GetSlice()
		default:
			if v.Type() != "string" {
				return
			}
		}
		if slices.ContainsFunc(values, Blank) && empty == nil {
			empty = Usagef("--%s: the value is empty. Give a value or omit the flag", f.Name)
		}
	})
	return empty
}

// Blank reports whether a text has no content.
func Blank(text string) bool { return strings.TrimSpace(text) == "" }

// None is the value of a flag for no expression.
const None = "none"

// flagGroup is a heading and the flags under it.
type flagGroup struct {
	Heading string
	flags   *pflag.FlagSet
}

// Usages returns a line for each flag.
func (g flagGroup) Usages() string {
	text := strings.TrimRight(g.flags.FlagUsagesWrapped(100), "\n")
	return optionalValue.ReplaceAllStringFunc(text, func(flag string) string {
		short := optionalValue.ReplaceAllString(flag, "$1[=$2]")
		return short + strings.Repeat(" ", len(flag)-len(short))
	})
}

// optionalValue is a flag with an optional value as pflag prints it.
var optionalValue = regexp.MustCompile(`(--[\w-]+) (\w+)\[="?true"?\]`)

// withoutZero returns the flag without a default that is 0: the usage says what 0 means.
func withoutZero(f *pflag.Flag) *pflag.Flag {
	if f.DefValue != "0B" && f.DefValue != "0s" {
		return f
	}
	clone := *f
	clone.DefValue = "0"
	return &clone
}

// flagGroups returns the visible flags of a command by heading, in the order in which the
// headings were defined. Flags without a heading come last, then those of the parent.
func flagGroups(cmd *cobra.Command) (groups []flagGroup) {
	const other, global = "Other", "Global"
	sets := map[string]*pflag.FlagSet{}
	var order []string
	add := func(heading string, f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet("", pflag.ContinueOnError)
			sets[heading].SortFlags = false
			order = append(order, heading)
		}
		sets[heading].AddFlag(withoutZero(f))
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if g := f.Annotations[groupOf]; len(g) > 0 {
			add(g[0], f)
		}
	})
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[groupOf]) == 0 {
			add(other, f)
		}
	})
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { add(global, f) })
	for _, heading := range order {
		groups = append(groups, flagGroup{heading, sets[heading]})
	}
	return groups
}

func init() { cobra.AddTemplateFunc("flagGroups", flagGroups) }

const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{range flagGroups .}}

{{.Heading}}:
{{.Usages}}{{end}}
`

var (
	unknownLong  = regexp.MustCompile(`^unknown flag: --(\S+)`)
	unknownShort = regexp.MustCompile(`^unknown shorthand flag: '.' in -(\S+)`)
)

// otherWords are words for flags in other programs and earlier versions.
var otherWords = map[string]string{
	"caplen": "snaplen", "device": "interface", "dir": "write", "directory": "write",
	"input": "read", "out": "write", "output": "write",
}

// flagError returns a usage error; for an unknown flag it names the flag that was
// probably meant.
func flagError(cmd *cobra.Command, err error) error {
	if err == pflag.ErrHelp {
		return err
	}
	var names []string
	visit := func(f *pflag.Flag) {
		if name := "--" + f.Name; !f.Hidden && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	cmd.Flags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		return invalidValue(invalid)
	}
	text := err.Error()
	for _, unknown := range []*regexp.Regexp{unknownLong, unknownShort} {
		if m := unknown.FindStringSubmatch(text); m != nil {
			word, _, _ := strings.Cut(m[1], "=")
			if today := "--" + otherWords[word]; slices.Contains(names, today) {
				return Usagef("%s. Did you mean %s?", text, today)
			}
			return Usagef("%s%s", text, didYouMean("--"+word, names))
		}
	}
	return UsageError{err}
}

// didYouMean returns the suffix of a message with the words that are close to
// word, or "".
func didYouMean(word string, known []string) string {
	parent := &cobra.Command{Use: "x", SuggestionsMinimumDistance: 2}
	for _, k := range known {
		parent.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	close := parent.SuggestionsFor(word)
	if len(close) == 0 {
		return ""
	}
	return fmt.Sprintf(". Did you mean %s?", strings.Join(close, " or "))
}
