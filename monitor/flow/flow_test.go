package flow

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/headers"
)

// configs are what both implementations are compared with.
func configs() map[string]Config {
	return map[string]Config{
		"plain":   {Flows: 1 << 14},
		"one way": {Flows: 1 << 14, OneWay: true, VLAN: true},
		"tunnels": {Flows: 1 << 14, VLAN: true, Tunnels: headers.AllTunnels, Payload: 100},
		"gtpu":    {Flows: 1 << 14, Tunnels: headers.GTPU | headers.VXLAN, Idle: 2 * time.Second, Active: 5 * time.Second, Linger: time.Millisecond},
	}
}

func TestFlowsOfCapturesAreThoseOfTheOracle(t *testing.T) {
	for _, file := range captures(t) {
		packets := capture(t, file)
		for name, c := range configs() {
			if raceEnabled && name != "tunnels" {
				continue
			}
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) { compareWithOracle(t, c, packets) })
		}
	}
}

func TestFlowsOfTrafficAreThoseOfTheOracle(t *testing.T) {
	for name, c := range configs() {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) { compareWithOracle(t, c, generated(seed, 3000)) })
		}
	}
}

func TestMemoryOfAFlowIsBounded(t *testing.T) {
	for _, flows := range []int{1 << 10, 3000, 3190, 101_700, 102_000} {
		e, err := New(Config{Flows: flows, OnRecords: func([]Record) {}})
		require.NoError(t, err)
		bytes, _ := e.Memory()
		require.LessOrEqual(t, bytes, flows*512+4096, "%d flows", flows)
		require.NoError(t, e.Close())
	}
}

func TestFastPathParsesAsTheSlowOne(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			e, _ := collect(t, c)
			fast := 0
			for _, in := range generated(11, 4000) {
				var a, b packet
				b.hash, b.payload, b.isTCP, b.whole, b.seq, b.length = 1, 1, true, true, 1, 1 // left by another packet
				e.parse(&a, &in)
				if e.parseFast(&b, &in) {
					b.hash = 0
					require.Equal(t, a, b)
					fast++
				}
			}
			require.Greater(t, fast, 200)
		})
	}
}

// What locate finds is what candidate finds, or left to find.
func TestLocateFindsTheCandidates(t *testing.T) {
	e, _ := collect(t, Config{Flows: 900, Short: 100})
	e.Process(generated(5, 3000))
	found := 0
	for _, in := range generated(5, 3000) {
		p := make([]packet, 1)
		e.parse(&p[0], &in)
		p[0].hash = p[0].key.hash(&e.seeds)
		e.locate(p)
		got := p[0].ref
		e.locateGo(p)
		if got != 0 {
			require.Equal(t, p[0].ref, got)
			found++
		}
	}
	require.Greater(t, found, 1000)
}
