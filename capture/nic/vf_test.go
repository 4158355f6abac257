package nic_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim"
)

// A capture on a virtual function goes on when the port is closed and opened again, and its
// ledger balances.
func TestCaptureOnAVirtualFunctionSurvivesAResetOfThePort(t *testing.T) {
	t.Parallel()
	dev, err := sim.Open("gen,count=forever,rate=20kpps,size=60-3000,vfs=1")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	open := func() *driver.Port {
		p, err := driver.Open(dev, driver.Config{RingSize: 64, VFs: []driver.VF{{Trusted: true}}})
		require.NoError(t, err)
		require.NoError(t, p.Start())
		return p
	}
	port := open()
	vf, err := dev.NIC().ConnectVF(0, "sim:vf0")
	require.NoError(t, err)
	var restarts atomic.Int32
	p, err := nic.New(vf, nic.Config{OnEvent: func(e driver.Event) {
		if e.Kind == driver.Recovered {
			restarts.Add(1)
		}
	}})
	require.NoError(t, err)
	engine, err := capture.New(p, capture.Config{Buffer: 16 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()

	ctx, end := context.WithCancel(t.Context())
	defer end()
	var ledger capture.Ledger
	done := make(chan error, 1)
	go func() {
		var err error
		ledger, err = engine.Run(ctx, 10*time.Second)
		done <- err
	}()
	received := func() uint64 {
		a, err := p.Account()
		require.NoError(t, err)
		return a.Received
	}
	for n := range int32(2) {
		begin := received()
		require.Eventually(t, func() bool { return received() > begin+2000 }, time.Minute, 10*time.Millisecond)
		require.NoError(t, port.Close())
		port = open()
		require.Eventually(t, func() bool { return restarts.Load() == n+1 }, time.Minute, 10*time.Millisecond)
	}
	begin := received()
	require.Eventually(t, func() bool { return received() > begin+2000 }, time.Minute, 10*time.Millisecond)
	end()
	require.NoError(t, <-done)
	require.NoError(t, ledger.Balanced())
	require.Greater(t, ledger.Frames(), uint64(6000))
	require.NotZero(t, ledger.Account.LinkDowns)
	require.NoError(t, port.Close())
}
