package record_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/record"
	"github.com/ixcap/ixcap/capture/store"
	_ "github.com/ixcap/ixcap/sim"
)

func engine(t *testing.T, device string, queues int) *capture.Engine {
	t.Helper()
	p, err := nic.Open(device, nic.Config{Queues: queues})
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestRunStoresTheQueuesAskedFor(t *testing.T) {
	for name, c := range map[string]struct{ queue, storers int }{
		"all": {record.AllQueues, 2},
		"one": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := engine(t, "sim:gen,count=4000,flows=64,hold", 2)
			l, err := record.Run(t.Context(), e, record.Config{Dir: dir, Queue: c.queue, Store: store.Config{Port: "x"}})
			require.NoError(t, err)
			require.NoError(t, l.Balanced())
			require.EqualValues(t, 4000, l.Account.Wire)
			require.Len(t, l.Storers, c.storers)
			files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
			require.NoError(t, err)
			require.Len(t, files, c.storers)
			for _, s := range l.Storers {
				require.NotZero(t, s.Written)
				require.Equal(t, s.Read, s.Written)
			}
		})
	}
}

func TestRunRefusesWhatItCannotRecord(t *testing.T) {
	e := engine(t, "sim:gen,count=10,hold", 2)
	_, err := record.Run(t.Context(), e, record.Config{Dir: record.Null, Queue: 2})
	require.ErrorContains(t, err, "queue 2: the port has 2, numbered from 0")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = record.Run(t.Context(), e, record.Config{Dir: file, Queue: record.AllQueues})
	require.ErrorContains(t, err, "not a directory")

	l, err := record.Run(t.Context(), e, record.Config{Dir: record.Null, Queue: record.AllQueues})
	require.NoError(t, err, "the engine is as it was")
	require.EqualValues(t, 10, l.Frames())
}

func TestProgressIsReportedWhileTheCaptureRuns(t *testing.T) {
	e := engine(t, "sim:gen,rate=10kpps", 1)
	done := make(chan capture.Rate, 10)
	go func() {
		<-done
		_ = e.Stop()
	}()
	l, err := record.Run(t.Context(), e, record.Config{Dir: record.Null, Progress: func(before, now capture.Rates) {
		require.True(t, now.At.After(before.At))
		done <- now.Since(before)
	}})
	require.NoError(t, err)
	require.NotZero(t, l.Frames())
	require.Greater(t, l.Seconds, 0.5)
	require.Less(t, l.Seconds, (60 * time.Second).Seconds())
}
