package nic

import (
	"errors"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/driver"
)

// NewEngine opens the device of a name (see Open) and returns an engine that
// captures from it. Closing the engine closes the port.
func NewEngine(name string, port Config, cfg capture.Config) (*capture.Engine, *Port, error) {
	p, err := Open(name, port)
	if err != nil {
		return nil, nil, err
	}
	e, err := capture.New(p, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return e, p, nil
}

// Capabilities returns the limits of the ports that Open opens.
func Capabilities() driver.Capabilities { return driver.Limits() }
