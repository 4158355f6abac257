package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/units"
)

// Exit statuses of all programs.
const (
	Failure = 1 // the work failed, in whole or in part
	Usage   = 2 // the command line is wrong
	Loss    = 3 // frames were lost and --fail-on-loss was given
)

// UsageError is an error in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// LossError reports frames that were lost.
type LossError struct{ Frames uint64 }

func (e LossError) Error() string { return units.Plural(e.Frames, "frame") + " lost (--fail-on-loss)" }

// Main runs a program's command with the arguments of the process, prints its error and
// exits with its status.
func Main(cmd *cobra.Command) {
	receiveEPIPE()
	cmd.SetErr(Stderr)
	code := status(cmd, Execute(cmd, os.Args[1:]...))
	Stderr.Flush(lastLines)
	os.Exit(code)
}

// Execute runs a program's command with arguments and returns its error.
func Execute(cmd *cobra.Command, args ...string) error {
	cmd = prepare(cmd, args)
	if err := singleDash(cmd, args); err != nil {
		return err
	}
	cmd.SetArgs(append([]string{}, args...))
	return cmd.Execute()
}

// status prints errors, one line each, and returns the exit status. If the reader of
// standard output has gone, it is that of a program that SIGPIPE ended, without a line.
func status(cmd *cobra.Command, err error) int {
	switch {
	case err == nil:
		return 0
	case unread(err):
		return 128 + int(unix.SIGPIPE)
	}
	usage, lines := errors.As(err, new(UsageError)), Lines(err)
	for i, line := range lines {
		if usage && i == len(lines)-1 {
			line += " (--help shows the usage)"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", cmd.Name(), line)
	}
	switch {
	case usage:
		return Usage
	case errors.As(err, new(LossError)):
		return Loss
	}
	return Failure
}

// prepare adds the conventions of all programs to a command and its subcommands.
func prepare(cmd *cobra.Command, args []string) *cobra.Command {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.Version = Version()
	cmd.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	cmd.SetUsageTemplate(usageTemplate)
	cmd.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"}) // --help does it
	cmd.CompletionOptions.HiddenDefaultCmd = true
	man := cmd.PersistentFlags().String("man", "", "write the man pages to this `directory`")
	_ = cmd.PersistentFlags().MarkHidden("man")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *man != "" {
			return writeMan(cmd, *man)
		}
		return run(cmd, args)
	}
	conventions(cmd, man)
	cmd.InitDefaultCompletionCmd(args...)
	for _, sub := range cmd.Commands() {
		if sub.Name() == "completion" {
			completion(sub)
		}
	}
	return cmd
}

// conventions turns errors of flags and operands into usage errors.
func conventions(cmd *cobra.Command, man *string) {
	cmd.DisableFlagsInUseLine = true
	cmd.Flags().BoolP("help", "h", false, "print this help")
	if cmd.Version != "" {
		cmd.Flags().Bool("version", false, "print the version, the commit and the build")
	}
	cmd.Flags().SortFlags = false
	cmd.SetFlagErrorFunc(flagError)
	cmd.LocalFlags().VisitAll(once)
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *man != "" || check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return UsageError{err}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		conventions(sub, man)
	}
}

// completion makes the command print a script for a shell that it knows, or return an
// error.
func completion(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := NoOperands(cmd, args); err != nil {
			return UsageError{err}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return Usagef("completion: no shell: name one of %s", strings.Join(commandNames(cmd), ", "))
	}
}

// NoOperands returns an error if there are operands.
func NoOperands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return fmt.Errorf("unknown command %q%s%s", args[0], didYouMean(args[0], commandNames(cmd)), hint(cmd, args[0]))
	}
	return Unexpected(cmd, args[0])
}

// Operands returns a check for at least and at most so many operands.
func Operands(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		name := ""
		if cmd.HasParent() { // the program's name stands before each error
			name = cmd.Name() + ": "
		}
		switch {
		case len(args) < least:
			return fmt.Errorf("%san operand is missing. Usage: %s", name, cmd.UseLine())
		case len(args) > most:
			return fmt.Errorf("%sunexpected operand %q. Usage: %s", name, args[most], cmd.UseLine())
		}
		return nil
	}
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}

// Lines returns one line for each error that is joined in err.
func Lines(err error) (lines []string) {
	for _, e := range each(err) {
		lines = append(lines, strings.ReplaceAll(e.Error(), "\n", "; "))
	}
	return lines
}

// each returns the errors that are joined in err.
func each(err error) (all []error) {
	if e, ok := err.(UsageError); ok {
		return each(e.Err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") { // or fmt.Errorf with several %w
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		all = append(all, each(e)...)
	}
	return all
}

// OneOf returns a usage error unless text is one of the words.
func OneOf(flag, text string, words ...string) error {
	if slices.Contains(words, text) {
		return nil
	}
	return Usagef("%s %q: must be %s", flag, text, strings.Join(words, " or "))
}

// Version returns the module's version, the commit and its time, and the build:
// compiler, system and architecture.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	vcs := map[string]string{}
	for _, s := range info.Settings {
		vcs[s.Key] = s.Value
	}
	commit := cmp.Or(vcs["vcs.revision"], "unknown")
	if t := vcs["vcs.time"]; t != "" {
		commit += " of " + t
	}
	if vcs["vcs.modified"] == "true" {
		commit += ", modified"
	}
	return fmt.Sprintf("%s (commit %s; %s %s/%s)", cmp.Or(info.Main.Version, "(devel)"), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// gcPercent sets the smallest heap at which garbage is collected to 64 MiB, in percent of
// Go's own minimum of 4 MiB.
const gcPercent = 1600

// SetGCPercent makes garbage collections rare. Each stops all goroutines, pollers too,
// twice for about 10 µs plus the time until the Go scheduler runs a poller again. The heap
// of a capture program is a few MiB: streams, rings and packet buffers are not on it. GOGC
// and GOMEMLIMIT in the environment have precedence.
func SetGCPercent() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
