package meter_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/meter"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/jsondoc"
	"github.com/ixcap/ixcap/internal/testtime"
	_ "github.com/ixcap/ixcap/sim"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	jsondoc.Check(t, "../../../docs/JSON.md", "captop", map[string]reflect.Type{
		"page": reflect.TypeFor[meter.Report](), "port of a page": reflect.TypeFor[meter.Port](), "thread": reflect.TypeFor[meter.Thread](),
	})
}

// Three threads of a group read what the capture receives, each frame once, and one that is
// in no group reads all. The report has the sums over both queues.
func TestThreadsOfAGroupShareTheFrames(t *testing.T) {
	dir, err := os.MkdirTemp("", "ixcap-m-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	share := filepath.Join(dir, "share")
	s, err := settings.Parse("f", `
[defaults]
buffer = "8MiB"
[storage]
dirs = "null"
[port.a]
device = "sim:gen,size=60-300,flows=64,rate=20kpps,backpressure"
queues = 2
[share]
dir = "`+share+`"
`)
	require.NoError(t, err)
	d, err := daemon.Open(s, daemon.Config{})
	require.NoError(t, err)
	sockets, err := query.Sockets(share)
	require.NoError(t, err)
	require.Len(t, sockets, 2)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attached, counted := make(chan struct{}, 2), make(chan error, 2)
	for _, cfg := range []meter.Config{
		{Threads: 3, Name: "member", Fanout: "group=7\nmode=hash", Policy: stream.Lossless},
		{Threads: 1, Name: "all", Policy: stream.Lossless},
	} {
		go func() { counted <- meter.Count(ctx, sockets, cfg, func() { attached <- struct{}{} }) }()
	}
	<-attached
	<-attached
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()

	c := control.NewClient(filepath.Join(share, "control.sock"))
	defer c.Close()
	m := meter.New(c)
	var r meter.Report
	require.Eventually(t, func() bool {
		r, err = m.Sample(t.Context())
		return err == nil && len(r.Threads) == 5 && r.Threads[0].Read > 1000 && r.Over > 0
	}, testtime.Deadline, 10*time.Millisecond)
	names := map[string]meter.Thread{}
	for _, one := range r.Threads {
		require.Equal(t, os.Getpid(), one.PID)
		require.Equal(t, 2, one.Queues)
		require.Zero(t, one.Lost)
		names[one.Name] = one
	}
	shares := 0.0
	for _, name := range []string{"member-0", "member-1", "member-2"} {
		require.Equal(t, 7, names[name].Group, name)
		require.Equal(t, "hash", names[name].Mode)
		require.Greater(t, names[name].Read, uint64(0))
		shares += names[name].Share
	}
	require.InDelta(t, 1, shares, 1e-9)
	require.Equal(t, meter.NoGroup, names["all-0"].Group)
	require.Greater(t, names["all-0"].Frames, 0.0)
	require.Greater(t, names["all-0"].Bits, 60*8*names["all-0"].Frames)
	require.Equal(t, "a", r.Ports[0].Name)

	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Regexp(t, `(?m)^\d\d:\d\d:\d\d  a  received \d\.\d+ Gb/s \d\.\d+ Mpps  lost \d+ frames, \d+/s$`, text.String())
	require.Regexp(t, `(?m)^7 hash +member-1 +\d+ +\d+ .* %  +0 +0 +\d+$`, text.String())
	require.Regexp(t, `(?m)^7 +sum of 3 +\d+ `, text.String())
	require.NotContains(t, text.String(), "next page")
	text.Reset()
	r.Over = 0
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "\nrates and shares: from the next page on\nGROUP ")
	_, err = json.Marshal(r)
	require.NoError(t, err)

	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, <-counted)
	require.NoError(t, <-counted)
	for _, l := range d.Ledgers() {
		require.NoError(t, l.Err)
	}
	require.NoError(t, d.Close())
	_, err = m.Sample(t.Context())
	require.Error(t, err)
}

// A program that opens a port twice has two handles of one name.
func TestHandlesOfOneProgramAreApart(t *testing.T) {
	dir, err := os.MkdirTemp("", "ixcap-m-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := settings.New()
	p := settings.Defaults()
	p.Device, p.Buffer, p.Queues, p.Storage.Dirs = "sim:gen,size=60,rate=10kpps,flows=64,backpressure", 8<<20, 2, settings.Dirs{"null"}
	s.Ports, s.Share.Dir = []settings.Port{p}, filepath.Join(dir, "share")
	d, err := daemon.Open(s, daemon.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	sockets, err := query.Sockets(s.Share.Dir)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	first, end := context.WithCancel(ctx)
	counted, attached := make(chan error, 2), make(chan struct{})
	for _, ctx := range []context.Context{first, ctx} {
		go func() {
			counted <- meter.Count(ctx, sockets, meter.Config{Threads: 1, Name: "twice"}, func() { attached <- struct{}{} })
		}()
		<-attached
	}
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()

	c := control.NewClient(filepath.Join(s.Share.Dir, "control.sock"))
	defer c.Close()
	m := meter.New(c)
	var r meter.Report
	threads := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			r, err = m.Sample(t.Context())
			return err == nil && len(r.Threads) == n+1 && r.Threads[n].Read > 0 && r.Over > 0
		}, testtime.Deadline, 20*time.Millisecond)
	}
	threads(2)
	for i, one := range r.Threads[1:] { // after the storer
		require.Equal(t, "twice-0", one.Name)
		require.Equal(t, i+1, one.Handle)
		require.Equal(t, 2, one.Queues)
	}
	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Regexp(t, `(?m)^- +twice-0 +\d`, text.String())
	require.Regexp(t, `(?m)^- +twice-0 \(2\) +\d`, text.String())

	end()
	require.NoError(t, <-counted)
	threads(1)
	require.Equal(t, 1, r.Threads[1].Handle)
	require.Less(t, r.Threads[1].Frames, float64(r.Threads[1].Read)/r.Over.Seconds(), "rates go on from the same handle")
	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, <-counted)
}

func TestCountEndsWithTheCapture(t *testing.T) {
	dir, err := os.MkdirTemp("", "ixcap-m-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := settings.New()
	p := settings.Defaults()
	p.Device, p.Buffer, p.Storage.Dirs = "sim:gen,count=1000,size=60,backpressure", 8<<20, settings.Dirs{"null"}
	s.Ports, s.Share.Dir = []settings.Port{p}, filepath.Join(dir, "share")
	d, err := daemon.Open(s, daemon.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	sockets, err := query.Sockets(s.Share.Dir)
	require.NoError(t, err)
	counted, attached := make(chan error, 1), make(chan struct{})
	go func() {
		counted <- meter.Count(t.Context(), sockets, meter.Config{Threads: 2, Name: "x"}, func() { close(attached) })
	}()
	<-attached
	require.NoError(t, d.Run(t.Context()))
	require.NoError(t, <-counted)
	for _, l := range d.Ledgers()[0].Ledger.Queues[0].Listeners {
		require.EqualValues(t, 1000, l.Read, l.Name)
	}
	require.Error(t, meter.Count(t.Context(), sockets, meter.Config{Threads: 1, Name: "x", Fanout: "group=1\nmode=none"}, func() {}))
}
