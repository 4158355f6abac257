package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// parse returns the request and options of a command line. r is nil if run was not called.
func parse(args ...string) (r *request, o options, err error) {
	err = cli.Execute(command(func(got request, all options) error {
		r, o = &got, all
		return nil
	}), args...)
	return r, o, err
}

func TestCommandLines(t *testing.T) {
	t.Setenv(socketVariable, "/run/default.sock")
	for args, c := range map[string]struct {
		command string
		want    options
	}{
		"status":                            {"status", options{}},
		"status --json":                     {"status", options{asJSON: true}},
		"--json status":                     {"status", options{asJSON: true}},
		"status --watch 1s":                 {"status", options{watch: units.Duration(time.Second)}},
		"listeners --watch=500ms --port p1": {"listeners", options{watch: units.Duration(time.Second / 2), port: "p1"}},
		"--socket /x.sock ledger":           {"ledger", options{socket: "/x.sock"}},
		"ledger --socket=/x.sock --watch 2": {"ledger", options{socket: "/x.sock", watch: units.Duration(2 * time.Second)}},
		"module --watch 1s":                 {"module", options{watch: units.Duration(time.Second)}},
		"blink 5s":                          {"blink", options{operands: []string{"5s"}}},
		"ports":                             {"ports", options{}},
		"rotate --port p1":                  {"rotate", options{port: "p1"}},
		"detach 0:3":                        {"detach", options{operands: []string{"0:3"}}},
		"detach monitor --json":             {"detach", options{asJSON: true, operands: []string{"monitor"}}},
		"policy 0:3 lossy":                  {"policy", options{operands: []string{"0:3", "lossy"}}},
		"policy x lossless,detach-after=2s": {"policy", options{operands: []string{"x", "lossless,detach-after=2s"}}},
		"rules":                             {"rules", options{}},
		"filters":                           {"filters", options{}},
		"filters none --port p1":            {"filters", options{port: "p1", operands: []string{"none"}}},
		"rules drop":                        {"rules", options{operands: []string{"drop"}}},
		"rules none --queue 1":              {"rules", options{queue: 1, operands: []string{"none"}}},
		"rules --queue 0 @file":             {"rules", options{operands: []string{"@file"}}},
	} {
		if !strings.Contains(args, "--queue") {
			c.want.queue = capture.AllQueues
		}
		if c.want.socket == "" {
			c.want.socket = "/run/default.sock"
		}
		if c.want.operands == nil {
			c.want.operands = []string{}
		}
		r, o, err := parse(strings.Fields(args)...)
		require.NoError(t, err, args)
		name, _, _ := strings.Cut(r.use, " ")
		require.Equal(t, c.command, name, args)
		require.Equal(t, c.want, o, args)
	}
}

func TestSocketOfTheEnvironmentIsTheDefault(t *testing.T) {
	t.Setenv(socketVariable, "")
	_, o, err := parse("status")
	require.NoError(t, err)
	require.Equal(t, usual(), o.socket)
}

func TestMissingSocketNamesTheFlagAndTheVariable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	status, o, err := parse("status", "--socket", socket)
	require.NoError(t, err)
	err = run(*status, o)
	require.ErrorContains(t, err, "no capture is served at "+socket)
	require.ErrorContains(t, err, "--socket or $IXCAP_CONTROL")
}

func TestInvalidCommandLinesAreRejected(t *testing.T) {
	for args, want := range map[string]string{
		"":                       "no command: name one of status, listeners, ledger, module, blink, ports, rotate, detach, policy, rules, filters",
		"dance":                  `unknown command "dance"`,
		"statsu":                 "Did you mean status?",
		"rule drop":              "Did you mean rules?",
		"detach":                 "detach: an operand is missing. Usage: hpcapctl detach LISTENER",
		"policy x":               "policy: an operand is missing",
		"status more":            `unexpected operand "more"`,
		"ports --watch 1s":       "unknown flag: --watch",
		"detach x --watch 1s":    "unknown flag: --watch",
		"status --queue 1":       "unknown flag: --queue",
		"status --wach 1s":       "Did you mean --watch?",
		"status --soket x":       "Did you mean --socket?",
		"status --watch -1s":     "--watch",
		"status --watch soon":    "--watch",
		"status --json=maybe":    "--json",
		"rules --queue 1":        "--queue 1: ",
		"rules --queue -2 drop":  "--queue -2: ",
		"rules --queue x drop":   "--queue",
		"rules one two":          `rules: unexpected operand "two"`,
		"filters one two":        `filters: unexpected operand "two"`,
		"filters --queue 1 none": "unknown flag: --queue",
		"rules --nonsense":       "unknown flag: --nonsense",
		"rotate -x":              "unknown shorthand flag: 'x'",
		"ledger --watch= --json": "--watch",
	} {
		r, _, err := parse(strings.Fields(args)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
		require.Nil(t, r, args)
	}
}

func TestEmptyValuesAreRejected(t *testing.T) {
	for _, sub := range command(nil).Commands() {
		name := sub.Name()
		operands := map[string][]string{"detach": {"x"}, "policy": {"x", "lossy"}, "rules": {"drop"}, "filters": {"none"}}[name]
		check := func(f *pflag.Flag) {
			r, _, err := parse(append([]string{name, "--" + f.Name + "="}, operands...)...)
			require.ErrorAs(t, err, new(cli.UsageError), "%s --%s=", name, f.Name)
			require.ErrorContains(t, err, "--"+f.Name, name)
			require.Nil(t, r)
		}
		sub.Flags().VisitAll(check)
		sub.InheritedFlags().VisitAll(check)
		for i := range operands {
			words := append([]string{name}, operands...)
			words[1+i] = " "
			r, _, err := parse(words...)
			require.ErrorAs(t, err, new(cli.UsageError), words)
			require.ErrorContains(t, err, name+": an operand is empty")
			require.Nil(t, r)
		}
	}
}
