package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

func parse(args ...string) (o *options, err error) {
	err = cli.Execute(command(func(got options) error {
		o = &got
		return nil
	}), args...)
	return o, err
}

func TestFlags(t *testing.T) {
	o, err := parse("--watch", "2s", "--json", "--port", "b", "/run/x")
	require.NoError(t, err)
	require.Equal(t, options{what: "/run/x", port: "b", watch: o.watch, asJSON: true}, *o)
	require.Equal(t, 2*time.Second, o.watch.Duration())
}

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"--json --prometheus": "choose one",
		"--port=":             "--port",
		"a b":                 `unexpected operand "b"`,
	} {
		_, err := parse(strings.Fields(args)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
	}
}
