package driver

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Measure is a value that a module measures, with the thresholds that its vendor has set.
type Measure struct {
	Value float64

	LowAlarm, LowWarning, HighWarning, HighAlarm float64 // all 0: none are set
}

// State names the threshold that the value has passed, "" if it has passed none.
func (m Measure) State() string {
	switch v := m.Value; {
	case m.LowAlarm == m.HighAlarm:
		return ""
	case v > m.HighAlarm:
		return "high alarm"
	case v < m.LowAlarm:
		return "low alarm"
	case m.LowWarning == m.HighWarning:
		return ""
	case v > m.HighWarning:
		return "high warning"
	case v < m.LowWarning:
		return "low warning"
	}
	return ""
}

// Diagnostics are what a module measures of itself (SFF-8472, chapter 9).
type Diagnostics struct {
	Temperature Measure // °C
	Supply      Measure // V
	Bias        Measure // of the laser, mA
	TxPower     Measure // mW
	RxPower     Measure // mW

	Average  bool // RxPower is the average, else the modulation amplitude
	External bool // values are calibrated by constants in the module, not by the module

	TxDisabled bool // the laser is off
	TxFault    bool // the module has found a fault of its transmitter
	RxLoss     bool // no signal is received
}

// DBm converts a power in mW to dBm, -40 for less than 0.1 uW, the smallest that a module
// reports.
func DBm(mW float64) float64 { return 10 * math.Log10(max(mW, 1e-4)) }

// Bytes of the page at address A2h (SFF-8472, tables 9-5 to 9-11).
const (
	diagThresholds = 0  // five quantities, four values of 2 bytes each
	diagRxPower    = 56 // five coefficients of a polynomial, 4 bytes each, that of x^4 first
	diagCalibrate  = 76 // slope and offset of bias, transmit power, temperature and supply, 2 bytes each
	diagChecksum   = 95 // of bytes 0 to 94
	diagValues     = 96 // five quantities, 2 bytes each
	diagStatus     = 110
	diagBytes      = 112

	// Bits of diagStatus.
	diagTxDisabled = 7
	diagTxFault    = 2
	diagRxLoss     = 1
	diagNotReady   = 0
)

// Diagnostics reads what the module in the cage measures. It takes 20 ms on a card and more
// over a socket, and may be called from any goroutine while the port receives.
func (p *Port) Diagnostics() (Diagnostics, error) {
	m, err := p.Module()
	switch {
	case err != nil:
		return Diagnostics{}, fmt.Errorf("read diagnostics of %s: %w", p.dev.Name(), err)
	case !m.Measures:
		return Diagnostics{}, fmt.Errorf("read diagnostics of %s: the module (%v) does not measure", p.dev.Name(), m)
	}
	page, err := p.readModule(i2cDiagnostics, diagBytes)
	if err == nil {
		var d Diagnostics
		if d, err = parseDiagnostics(page, m.external); err == nil {
			d.Average = m.average
			return d, nil
		}
	}
	if gone := p.err(); gone != nil {
		err = gone
	}
	return Diagnostics{}, fmt.Errorf("read diagnostics of %s: %w", p.dev.Name(), err)
}

// parseDiagnostics decodes the page. With external calibration the values and the
// thresholds are raw, and the page has the constants (SFF-8472, 9.3).
func parseDiagnostics(page []byte, external bool) (Diagnostics, error) {
	var sum byte
	for _, b := range page[:diagChecksum] {
		sum += b
	}
	if sum != page[diagChecksum] {
		return Diagnostics{}, fmt.Errorf("diagnostics of the module: checksum is %#02x, want %#02x", page[diagChecksum], sum)
	}
	status := page[diagStatus]
	bit := func(n uint) bool { return status>>n&1 != 0 }
	if bit(diagNotReady) {
		return Diagnostics{}, fmt.Errorf("diagnostics of the module: it is not ready yet: read them again")
	}
	d := Diagnostics{External: external, TxDisabled: bit(diagTxDisabled), TxFault: bit(diagTxFault), RxLoss: bit(diagRxLoss)}
	for i, q := range []struct {
		to    *Measure
		unit  float64
		sign  bool
		slope int // of the constants, -1: a polynomial
	}{
		{&d.Temperature, 1. / 256, true, diagCalibrate + 8}, // °C
		{&d.Supply, 1e-4, false, diagCalibrate + 12},        // 100 uV
		{&d.Bias, 2e-3, false, diagCalibrate},               // 2 uA
		{&d.TxPower, 1e-4, false, diagCalibrate + 4},        // 0.1 uW
		{&d.RxPower, 1e-4, false, -1},
	} {
		value := func(at int) float64 {
			raw := binary.BigEndian.Uint16(page[at:])
			v := float64(raw)
			if q.sign {
				v = float64(int16(raw))
			}
			switch {
			case !external:
			case q.slope < 0:
				v = receivedPower(page, v)
			default:
				v = v*float64(binary.BigEndian.Uint16(page[q.slope:]))/256 + float64(int16(binary.BigEndian.Uint16(page[q.slope+2:])))
			}
			return v * q.unit
		}
		at := diagThresholds + 8*i
		*q.to = Measure{
			Value:     value(diagValues + 2*i),
			HighAlarm: value(at), LowAlarm: value(at + 2), HighWarning: value(at + 4), LowWarning: value(at + 6),
		}
	}
	return d, nil
}

// receivedPower is the polynomial of received power, in 0.1 uW. A module whose constants
// are no numbers reports none.
func receivedPower(page []byte, raw float64) (v float64) {
	for i := range 5 {
		v = v*raw + float64(math.Float32frombits(binary.BigEndian.Uint32(page[diagRxPower+4*i:])))
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
