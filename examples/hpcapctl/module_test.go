package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/control"
)

func TestModuleShowsThresholdsThatArePassed(t *testing.T) {
	var b strings.Builder
	m := module{control.Module{
		Port: "0000:01:00.0", Link: "down", Kind: "10GBASE-SR", Vendor: "ACME", Part: "X", Serial: "7", Wavelength: 850,
		Measured: &control.Measured{
			Temperature: control.Measure{Value: 79.25, LowAlarm: -13, LowWarning: -8, HighWarning: 73, HighAlarm: 78, State: "high alarm"},
			RxPower:     control.Measure{Value: 0, LowAlarm: 0.01}, RxLoss: true,
		},
	}}
	require.NoError(t, m.text(&b))
	require.Regexp(t, `(?m)^temperature +79\.2 °C +-13\.0 °C .* high alarm$`, b.String())
	require.Regexp(t, `(?m)^received power +-40\.00 dBm \(0\.0000 mW\) +-20\.00 dBm`, b.String())
	require.Regexp(t, `(?m)^signal +none$`, b.String())
	require.Regexp(t, `(?m)^wavelength +850 nm$`, b.String())
}
