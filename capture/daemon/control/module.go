package control

import (
	"context"
	"net/http"
	"time"

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
)

// Card is what a port with an SFP+ cage and LEDs can do; nic.Port implements it.
type Card interface {
	Link() driver.Link
	Module() (driver.Module, error)
	Diagnostics() (driver.Diagnostics, error)
	Blink(ctx context.Context) error
}

// Module is the module in a port's cage and what it measures.
type Module struct {
	Name string `json:"name,omitempty"` // of the port, where there are several
	Port string `json:"port"`
	Link string `json:"link"`

	Kind       string `json:"kind"`
	Vendor     string `json:"vendor"`
	Part       string `json:"part"`
	Revision   string `json:"revision"`
	Serial     string `json:"serial"`
	Date       string `json:"date"`          // of manufacture: year, month, day and lot as YYMMDDLL
	Wavelength int    `json:"wavelength_nm"` // 0 for a cable

	// Measured is what the module measures now; nil: nothing, for the reason in Error.
	Measured *Measured `json:"measured,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Measured is what a module measures.
type Measured struct {
	Temperature Measure `json:"temperature_celsius"`
	Supply      Measure `json:"supply_volts"`
	Bias        Measure `json:"bias_milliamperes"` // of the laser
	TxPower     Measure `json:"tx_power_milliwatts"`
	RxPower     Measure `json:"rx_power_milliwatts"`
	TxDisabled  bool    `json:"tx_disabled"` // the laser is off
	TxFault     bool    `json:"tx_fault"`
	RxLoss      bool    `json:"rx_loss"` // no signal is received
}

// Measure is a value with the thresholds of the module's vendor, all 0 if there are none.
type Measure struct {
	Value       float64 `json:"value"`
	State       string  `json:"state"` // empty, or the threshold that the value has passed
	LowAlarm    float64 `json:"low_alarm"`
	LowWarning  float64 `json:"low_warning"`
	HighWarning float64 `json:"high_warning"`
	HighAlarm   float64 `json:"high_alarm"`
}

func measureOf(m driver.Measure) Measure {
	return Measure{m.Value, m.State(), m.LowAlarm, m.LowWarning, m.HighWarning, m.HighAlarm}
}

// card returns the port's card, or a refusal.
func (p *controlled) card() (Card, error) {
	if p.Card == nil {
		return nil, refuse(http.StatusConflict, "%s is not an 82599 that this program drives: use ethtool -m and ethtool -p of its interface", p.name().Device)
	}
	return p.Card, nil
}

func (p *controlled) module(*http.Request) (any, error) {
	card, err := p.card()
	if err != nil {
		return nil, err
	}
	m, err := card.Module()
	a := Module{
		Name: p.Name, Port: p.name().Device, Link: card.Link().String(),
		Kind: string(m.Kind), Vendor: m.Vendor, Part: m.Part, Revision: m.Revision, Serial: m.Serial, Date: m.Date, Wavelength: m.Wavelength,
	}
	var d driver.Diagnostics
	if err == nil {
		d, err = card.Diagnostics()
	}
	if err != nil {
		a.Error = err.Error()
		return a, nil
	}
	a.Measured = &Measured{
		Temperature: measureOf(d.Temperature), Supply: measureOf(d.Supply), Bias: measureOf(d.Bias),
		TxPower: measureOf(d.TxPower), RxPower: measureOf(d.RxPower),
		TxDisabled: d.TxDisabled, TxFault: d.TxFault, RxLoss: d.RxLoss,
	}
	return a, nil
}

const maxBlink = time.Hour

// blinkRequest is the body of a request to blink.
type blinkRequest struct {
	For units.Duration `json:"for"`
}

// blink makes the port's LED blink for a time. It does not wait for its end.
func (p *controlled) blink(r *http.Request) (any, error) {
	var want blinkRequest
	if err := decode(r, &want, `{"for":"10s"}`); err != nil {
		return nil, err
	}
	d := want.For.Duration()
	if d <= 0 || d > maxBlink {
		return nil, refuse(http.StatusBadRequest, "for %v: must be more than 0 and at most %v", d, maxBlink)
	}
	card, err := p.card()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		failed <- card.Blink(ctx)
	}()
	select {
	case err := <-failed:
		if err != nil {
			return nil, refusal{http.StatusConflict, err}
		}
	case <-time.After(min(d, blinkStart)):
	}
	return p.name(), nil
}

// blinkStart is how long an LED that cannot blink takes to say so.
const blinkStart = 50 * time.Millisecond
