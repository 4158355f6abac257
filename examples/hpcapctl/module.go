package main

import (
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/driver"
)

type module struct{ control.Module }

func (m module) text(w io.Writer) error {
	rows := [][]string{{"port", m.Port}, {"link", m.Link}, {"module", m.Kind}}
	for _, r := range [][2]string{{"vendor", m.Vendor}, {"part", m.Part}, {"revision", m.Revision}, {"serial", m.Serial}, {"date", m.Date}} {
		if r[1] != "" {
			rows = append(rows, r[:])
		}
	}
	if m.Wavelength != 0 {
		rows = append(rows, []string{"wavelength", fmt.Sprintf("%d nm", m.Wavelength)})
	}
	if m.Error != "" {
		rows = append(rows, []string{"error", m.Error})
	}
	d := m.Measured
	if d != nil {
		rows = append(rows, []string{"laser", word(d.TxDisabled, "off", "on") + word(d.TxFault, ", fault", "")})
		rows = append(rows, []string{"signal", word(d.RxLoss, "none", "received")})
	}
	if err := table(w, rows); err != nil || d == nil {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"MEASURED", "VALUE", "LOW ALARM", "LOW WARNING", "HIGH WARNING", "HIGH ALARM", "STATE"}}
	for _, r := range []struct {
		name string
		of   control.Measure
		text func(float64) string
	}{
		{"temperature", d.Temperature, unit("%.1f °C")},
		{"supply", d.Supply, unit("%.3f V")},
		{"bias", d.Bias, unit("%.2f mA")},
		{"sent power", d.TxPower, power},
		{"received power", d.RxPower, power},
	} {
		state := r.of.State
		if state == "" {
			state = "ok"
		}
		rows = append(rows, []string{
			r.name, r.text(r.of.Value), r.text(r.of.LowAlarm), r.text(r.of.LowWarning), r.text(r.of.HighWarning), r.text(r.of.HighAlarm), state,
		})
	}
	return table(w, rows)
}

func unit(format string) func(float64) string {
	return func(v float64) string { return fmt.Sprintf(format, v) }
}

func power(mW float64) string { return fmt.Sprintf("%.2f dBm (%.4f mW)", driver.DBm(mW), mW) }

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
