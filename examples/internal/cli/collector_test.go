package cli_test

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

func TestTheEnvironmentDecidesHowOftenGarbageIsCollected(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	percent := func() int {
		n := debug.SetGCPercent(100)
		debug.SetGCPercent(n)
		return n
	}
	for _, c := range []struct {
		gogc, limit string
		want        int
	}{{"", "", 1600}, {"50", "", 100}, {"", "64MiB", 100}, {"off", "64MiB", 100}} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.limit)
		debug.SetGCPercent(100) // as if the runtime had read it
		cli.Collector()
		require.Equal(t, c.want, percent(), "%+v", c)
	}
}
