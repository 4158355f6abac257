package sim

import (
	"encoding/binary"
	"math"
)

// Monitoring is what a module measures of itself (SFF-8472, chapter 9). A cable does not.
type Monitoring int

const (
	MonitoringInternal Monitoring = iota // in units of the standard
	MonitoringExternal                   // raw, with constants by which readers calibrate
	NoMonitoring
)

var monitoringNames = map[string]Monitoring{"internal": MonitoringInternal, "external": MonitoringExternal, "none": NoMonitoring}

func (m Module) monitors(x Monitoring) bool {
	return m != NoModule && m != ModuleDA && x != NoMonitoring
}

// measured are what the model's modules measure and the thresholds, in units of the
// standard: 1/256 degrees C, 100 uV, 2 uA, 0.1 uW, 0.1 uW. The order is that of the page:
// high and low alarm, high and low warning, value.
var measured = [5][5]float64{
	{78 * 256, -13 * 256, 73 * 256, -8 * 256, 36.5 * 256},
	{37000, 29000, 36000, 30000, 33000},
	{6600, 1000, 6000, 1500, 3250},
	{10000, 1000, 7943, 1585, 5600},
	{10000, 100, 7943, 200, 4500},
}

// calibration are the constants of external calibration: slope and offset of bias, transmit
// power, temperature and supply, by quantity. Received power is 0.5 raw - 20.
var calibration = [4]struct {
	at     int
	slope  float64
	offset float64
}{{84, 1.25, -512}, {88, 2, 1000}, {76, 0.5, 50}, {80, 1.5, -100}}

const (
	rxSlope  = 0.5
	rxOffset = -20
)

// raw is the module's raw value of quantity q.
func raw(q int, v float64, x Monitoring) uint16 {
	switch {
	case x != MonitoringExternal:
	case q == 4:
		v = (v - rxOffset) / rxSlope
	default:
		v = (v - calibration[q].offset) / calibration[q].slope
	}
	return uint16(int32(math.Round(v)))
}

// monitor is the page at A2h: thresholds and constants, which do not change.
func monitor(x Monitoring) []byte {
	b := make([]byte, 256)
	for q, values := range measured {
		for k, v := range values[:4] {
			binary.BigEndian.PutUint16(b[8*q+2*k:], raw(q, v, x))
		}
	}
	slope, offset, coefficients := [4]float64{1, 1, 1, 1}, [4]float64{}, [2]float64{1, 0}
	if x == MonitoringExternal {
		for q, c := range calibration {
			slope[q], offset[q] = c.slope, c.offset
		}
		coefficients = [2]float64{rxSlope, rxOffset}
	}
	for k, v := range coefficients {
		binary.BigEndian.PutUint32(b[68+4*k:], math.Float32bits(float32(v)))
	}
	for q, c := range calibration {
		binary.BigEndian.PutUint16(b[c.at:], uint16(slope[q]*256))
		binary.BigEndian.PutUint16(b[c.at+2:], uint16(int16(offset[q])))
	}
	for _, v := range b[:95] {
		b[95] += v
	}
	return b
}

// value is what quantity q is now, in units of the standard. Without a signal from the other
// end the received power is that of darkness, with the transmitter off the transmitted.
func (n *NIC) value(q int) float64 {
	off := txDisabled(n.reg[rESDP/4])
	if off && (q == 2 || q == 3) || !n.link.carrier && q == 4 {
		return 0
	}
	return measured[q][4]
}

// measure returns a byte of the page at A2h.
func (n *NIC) measure(at byte) byte {
	const values, status, alarms, warnings = 96, 110, 112, 116
	switch {
	case at >= values && at < values+10:
		q := int(at-values) / 2
		w := raw(q, n.value(q), n.cfg.Monitoring)
		if at%2 == 0 {
			return byte(w >> 8)
		}
		return byte(w)
	case at == status:
		var v byte
		if txDisabled(n.reg[rESDP/4]) {
			v |= 1 << 7
		}
		if !n.link.carrier {
			v |= 1 << 1
		}
		return v
	case at == alarms || at == alarms+1:
		return byte(n.flags(0) >> (8 * (alarms + 1 - at)))
	case at == warnings || at == warnings+1:
		return byte(n.flags(2) >> (8 * (warnings + 1 - at)))
	}
	return n.monitor[at]
}

// flags are those of the thresholds from index k of measured on: high and low of each
// quantity, from bit 15 down.
func (n *NIC) flags(k int) (f uint16) {
	for q := range measured {
		v := n.value(q)
		if v > measured[q][k] {
			f |= 1 << 15 >> (2 * q)
		}
		if v < measured[q][k+1] {
			f |= 1 << 14 >> (2 * q)
		}
	}
	return f
}
