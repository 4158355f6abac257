package cli_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

func TestLoggerWritesOneLinePerMessage(t *testing.T) {
	var b strings.Builder
	l := cli.Logger(&b, "prog", false)
	l.Debug("hidden")
	l.Info("ready", "cores", 2)
	l.With("port", "").Warn("one\ntwo")
	l.With("port", "eth2").With(slog.Int("queue", 3)).Error("failed", "lost", 7)
	require.Equal(t, "prog: ready cores=2\nprog: warning: one; two\nprog: error: eth2: queue 3: failed lost=7\n", b.String())
}
