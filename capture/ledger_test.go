package capture_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/sched"
)

// balanced returns a ledger that uses every account.
func balanced() capture.Ledger {
	return capture.Ledger{
		Port:     "sim:gen",
		Duration: 2 * time.Second,
		Account: capture.Account{
			Wire: 115, Received: 100,
			Missed: []capture.Count{{Cause: "RXMPC", Frames: 7}, {Cause: "QPRDC0", Frames: 3}},
			Bad:    []capture.Count{{Cause: "CRCERRS", Frames: 5}},
			Queue:  []uint64{60, 40},
		},
		LossCauses: []sched.LossCause{
			{Cause: sched.CauseOverload, Frames: 8, Intervals: 2, Worst: &sched.Loss{
				Frames: 6, Cause: sched.CauseOverload, End: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Over: time.Second,
				Evidence: sched.Evidence{Offered: 14_200_000, Processed: 9_100_000, Busy: time.Second},
			}},
			{Cause: sched.CausePending, Frames: 2},
		},
		Clock: capture.ClockAccount{Policy: clock.Adaptive, Status: clock.Status{Source: "tsc", Hertz: 2.5e9, Residual: -35, Worst: 210, Fits: 9, Steps: 1}},
		Queues: []capture.QueueAccount{
			{Queue: 0, Polled: 60, Stored: 50, Bytes: 5000, Cut: 12, Filtered: 4, Duplicates: 3,
				Rules:     []capture.RuleCount{{Rule: capture.EarlierRules, Frames: 20, Bytes: 2000}, {Rule: "(udp) drop", Frames: 4, Bytes: 400}, {Rule: "all", Frames: 36, Bytes: 2600}},
				Refused:   []capture.Count{{Cause: "too long", Frames: 3}},
				Listeners: []capture.ListenerAccount{{Name: "a", Policy: "lossy", Stored: 50, Read: 30, Overrun: 15, Unread: 5}}},
			{Queue: 1, Polled: 40, Stored: 40, Bytes: 4000},
		},
		Storers: []capture.StorerAccount{{Name: "q0", Read: 100, Written: 90, Files: 2, FailedFrames: 2, Failed: []capture.ByteCount{{Cause: "ENOSPC", Bytes: 10}}}},
	}
}

func TestLedgerOfACompleteAccountBalances(t *testing.T) {
	l := balanced()
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 90, l.Frames())
	require.EqualValues(t, 9000, l.Bytes())
	require.EqualValues(t, 13, l.Lost())
	require.EqualValues(t, 10, l.Unwritten())
	require.EqualValues(t, 13+2, l.TotalLost())
}

func TestBalancedNamesTheEquationThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*capture.Ledger)
		want  string
	}{
		"wire":     {func(l *capture.Ledger) { l.Account.Wire++ }, "wire: 116 is not 115 = received 100 + filtered 0 + missed 10 + bad 5"},
		"missed":   {func(l *capture.Ledger) { l.Account.Missed[0].Frames-- }, "wire: 115 is not 114"},
		"queue":    {func(l *capture.Ledger) { l.Account.Queue[1] = 39 }, "queue 1 received: 39 is not 40 = polled"},
		"polled":   {func(l *capture.Ledger) { l.Queues[0].Filtered = 0 }, "queue 0 polled: 60 is not 56 = stored 50 + filtered 0 + duplicates 3 + refused 3"},
		"received": {func(l *capture.Ledger) { l.Queues = l.Queues[:1] }, "received: 100 is not 60 = polled from 1 queues"},
		"causes":   {func(l *capture.Ledger) { l.LossCauses[0].Frames-- }, "missed: 10 is not 9 = 2 causes"},
		"rules":    {func(l *capture.Ledger) { l.Queues[0].Rules[1].Frames-- }, "queue 0 polled: 60 is not 59 = matched by 3 rules"},
		"listener": {func(l *capture.Ledger) { l.Queues[0].Listeners[0].Unread = 0 }, `queue 0 listener "a" stored since it attached: 50 is not 45 = read 30 + overrun 15 + skipped 0 + unread 0`},
		"storer":   {func(l *capture.Ledger) { l.Storers[0].Failed = nil }, "storer q0 bytes read: 100 is not 90 = written 90 + failed 0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := balanced()
			c.spoil(&l)
			err := l.Balanced()
			require.ErrorIs(t, err, capture.ErrUnbalanced)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLedgerTextShowsEveryAccount(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, balanced().WriteText(&out))
	for _, want := range []string{
		"115  frames  on the wire of sim:gen", "7  frames      missed: RXMPC",
		"8  frames      lost to: overload: poller busy 100 %, 14.2 Mpps offered, 9.1 Mpps processed (110 ns a frame)", "2  frames      lost to: not judged yet\n", "5  frames      bad: CRCERRS",
		"60  frames  received by queue 0", "refused: too long", "overrun", "unread",
		"90   bytes    written to 2 files", "failed: ENOSPC", "2  frames    not written completely", "Gb/s", "Mpps", "the ledger balances",
		"12  frames      cut", "4  frames    matched rule: (udp) drop", "20  frames    matched rule: before these rules",
		"-35      ns  clock error (max 210 ns) vs CLOCK_REALTIME, 9 fits, policy adaptive, source tsc, CLOCK_REALTIME steps: 1",
	} {
		require.Contains(t, out.String(), want)
	}
	l := balanced()
	l.Account.Wire++
	out.Reset()
	require.NoError(t, l.WriteText(&out))
	require.Contains(t, out.String(), "does not balance")
}

func TestLedgerJSONRoundTripsAndReportsTheBalance(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, balanced().WriteJSON(&out))
	var back capture.Ledger
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, balanced(), back)
	var result struct {
		Lost     uint64
		Balanced bool
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &result))
	require.True(t, result.Balanced)
	require.EqualValues(t, 13, result.Lost)
}

// While a capture runs a frame may be between two counters.
func TestALedgerOfARunningCaptureHasNoVerdict(t *testing.T) {
	for name, spoil := range map[string]uint64{"balanced": 0, "a frame between two counters": 1} {
		l := balanced()
		l.Running = true
		l.Account.Wire += spoil
		var text, document bytes.Buffer
		require.NoError(t, l.WriteText(&text), name)
		require.Contains(t, text.String(), "\nthe capture runs: these counters are of different moments, the ledger is exact once it has ended\n", name)
		require.NotContains(t, text.String(), "balance", name)
		require.NoError(t, l.WriteJSON(&document), name)
		var back map[string]any
		require.NoError(t, json.Unmarshal(document.Bytes(), &back), name)
		require.Equal(t, true, back["running"], name)
		require.NotContains(t, back, "balanced", name)
		require.NotContains(t, back, "unbalanced", name)
	}
}

// Frames and bits of a rate are those of the same frames.
func TestRatesOfALedgerAreOfOnePopulation(t *testing.T) {
	l := capture.Ledger{Duration: 2 * time.Second, Queues: []capture.QueueAccount{
		{Polled: 4_000_000, Bytes: 1_000_000_000, Stored: 1_000_000, StoredBytes: 50_000_000},
		{Polled: 2_000_000, Bytes: 500_000_000, Stored: 1_000_000, StoredBytes: 75_000_000},
	}}
	var out bytes.Buffer
	require.NoError(t, l.WriteText(&out))
	for _, want := range []string{`6\.000 +Gb/s +received`, `3\.000 +Mpps +received in 2\.000 s`, `0\.500 +Gb/s +stored`, `1\.000 +Mpps +stored in 2\.000 s`} {
		require.Regexp(t, want, out.String())
	}
	out.Reset()
	for i := range l.Queues {
		q := &l.Queues[i]
		q.Stored, q.StoredBytes = q.Polled, q.Bytes
	}
	require.NoError(t, l.WriteText(&out))
	require.NotContains(t, out.String(), "  stored in ")
}
