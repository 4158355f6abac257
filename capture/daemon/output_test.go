package daemon_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcappipe"
	"github.com/ixcap/ixcap/capture/daemon"
)

// The output holds the end for the linger time alone, also when the buffer is full: the
// engine does not wait for its stall timeout first, and abandons nothing.
func TestOutputThatIsNotReadHoldsTheEndForTheLingerTime(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	defer out.Close()
	r := open(t, parse(t, `
[defaults]
buffer = "2MiB"
[port.a]
device = "sim:gen,size=1500,flows=16,backpressure"
[storage]
dirs = "null"
[share]
linger = "100ms"
`), daemon.Config{Output: out, OutputName: "-", Duration: time.Second})
	require.NoError(t, r.Run(t.Context()))
	l := r.Ledgers()[0]
	require.ErrorIs(t, l.Err, pcappipe.ErrUnread)
	require.NotContains(t, l.Err.Error(), "abandoned")
	require.NoError(t, l.Ledger.Balanced())
}
