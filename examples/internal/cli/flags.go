package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
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

// NotEmpty returns a usage error if a text flag of the command line has an empty value:
// an unset variable in a script must not mean "all".
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
		if slices.Contains(values, "") && empty == nil {
			empty = Usagef("--%s: the value is empty. Give a value or omit the flag", f.Name)
		}
	})
	return empty
}

// flagGroup is a heading and the usage of the flags under it.
type flagGroup struct{ Heading, Usages string }

// flagGroups returns the visible flags of a command by heading, in the order in
// which the headings were defined; flags without one come last.
func flagGroups(cmd *cobra.Command) []flagGroup {
	const other = "Other"
	sets := map[string]*pflag.FlagSet{}
	var order []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		heading := other
		if g := f.Annotations[groupOf]; len(g) > 0 {
			heading = g[0]
		}
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet("", pflag.ContinueOnError)
			sets[heading].SortFlags = false
			if heading != other {
				order = append(order, heading)
			}
		}
		if !f.Hidden {
			sets[heading].AddFlag(f)
		}
	})
	var groups []flagGroup
	for _, heading := range append(order, other) {
		if set := sets[heading]; set != nil && set.HasAvailableFlags() {
			groups = append(groups, flagGroup{heading, strings.TrimRight(set.FlagUsagesWrapped(100), "\n")})
		}
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
{{.Usages}}{{end}}{{if .HasAvailableInheritedFlags}}

Global:
{{.InheritedFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}
`

var (
	unknownLong  = regexp.MustCompile(`^unknown flag: --(\S+)`)
	unknownShort = regexp.MustCompile(`^unknown shorthand flag: '.' in -(\S+)`)
)

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
	text := err.Error()
	for _, unknown := range []*regexp.Regexp{unknownLong, unknownShort} {
		if m := unknown.FindStringSubmatch(text); m != nil {
			word, _, _ := strings.Cut(m[1], "=")
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

// writeMan writes a man page of the command and of each subcommand to a directory,
// which it creates. The pages hold the text of --help.
func writeMan(cmd *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	header := &doc.GenManHeader{Section: "1", Source: "ixcap", Manual: "ixcap"}
	var write func(c *cobra.Command) error
	write = func(c *cobra.Command) error {
		c.DisableAutoGenTag = true
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write man pages: %w", err)
		}
		h := *header // GenMan sets its title
		if err := doc.GenMan(c, &h, f); err != nil {
			f.Close()
			return fmt.Errorf("write man page %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("write man pages: %w", err)
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				if err := write(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return write(cmd)
}
