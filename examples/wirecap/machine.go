package main

import (
	"context"
	"errors"
	"time"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// machine is a port on a model that the experiment steps.
type machine struct {
	nic   *sim.NIC
	dev   *sim.Device
	port  *driver.Port
	start time.Time // of virtual time
}

// open opens a port and starts it. That takes place in real time.
func open(cfg driver.Config, w wire.Wire) (_ *machine, err error) {
	m := &machine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.nic, err = sim.New(sim.Config{Stepped: true}, w); err != nil {
		return nil, err
	}
	if m.dev, err = sim.Connect(m.nic, "sim:wirecap"); err != nil {
		return nil, err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			m.start = time.Now()
			m.nic.Step(m.start)
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	if m.port, err = driver.Open(m.dev, cfg); err != nil {
		return nil, err
	}
	if err = m.port.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), linkLimit)
	defer cancel()
	_, err = m.port.WaitLink(ctx)
	return m, err
}

// step lets the device make a pass at a time in ticks.
func (m *machine) step(now int64) { m.nic.Step(m.start.Add(time.Duration(now / tick))) }

func (m *machine) close() (err error) {
	if m.port != nil {
		err = m.port.Close()
	}
	switch {
	case m.dev != nil:
		err = errors.Join(err, m.dev.Close())
	case m.nic != nil:
		err = errors.Join(err, m.nic.Close())
	}
	return err
}
