package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ExitStatus is the annotation of a command with the section EXIT STATUS of its man page.
const ExitStatus = "ixcap_exit_status"

// writeMan writes a man page of the command and of each subcommand to a directory, which
// it creates. The pages hold the text of --help.
func writeMan(cmd *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	for _, c := range append([]*cobra.Command{cmd}, subcommands(cmd)...) {
		if err := writePage(filepath.Join(dir, manName(c)+".1"), manPage(c)); err != nil {
			return fmt.Errorf("write man pages: %w", err)
		}
	}
	return nil
}

// writePage replaces a page.
func writePage(name string, page []byte) error {
	out, err := Create(name, nil, true)
	if err != nil {
		return err
	}
	if _, err := out.Write(page); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Commit()
}

func subcommands(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// manName returns the name of a command's page: hpcapctl-rules.
func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage returns a page in the language of man(7).
func manPage(cmd *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %q 1 \"\" ixcap ixcap\n", strings.ToUpper(manName(cmd)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(cmd)), roff(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	for line := range strings.Lines(cmd.UseLine()) {
		fmt.Fprintf(&b, "\\fB%s\\fP\n", roff(strings.TrimSpace(line)))
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	b.WriteString(strings.ReplaceAll(roff(text), "\n\n", "\n.PP\n") + "\n")
	if subs := subcommands(cmd); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range subs {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fP\n%s. See \\fB%s\\fP(1).\n", roff(sub.Name()), roff(sub.Short), roff(manName(sub)))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	for _, g := range flagGroups(cmd) {
		fmt.Fprintf(&b, ".SS %s\n", roff(g.Heading))
		g.flags.VisitAll(func(f *pflag.Flag) { b.WriteString(manFlag(f)) })
	}
	if text := cmd.Annotations[ExitStatus]; text != "" {
		fmt.Fprintf(&b, ".SH EXIT STATUS\n%s\n", roff(text))
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.EX\n%s\n.EE\n", roff(cmd.Example))
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n\\fB%s\\fP(1)\n", roff(manName(cmd.Parent())))
	}
	return b.Bytes()
}

// manFlag returns the paragraph of a flag.
func manFlag(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	name := `\fB` + roff("--"+f.Name) + `\fP`
	if f.Shorthand != "" {
		name = `\fB` + roff("-"+f.Shorthand) + `\fP, ` + name
	}
	switch {
	case value == "":
	case f.NoOptDefVal != "":
		name += `[=\fI` + roff(value) + `\fP]`
	default:
		name += ` \fI` + roff(value) + `\fP`
	}
	if !slices.Contains([]string{"", "0", "0s", "0B", "[]", "false", "none"}, f.DefValue) {
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	return ".TP\n" + name + "\n" + roff(usage) + "\n"
}

// roff escapes text: hyphens stay hyphens, and no line begins with a control character.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
