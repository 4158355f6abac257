package driver

import (
	"errors"
	"fmt"
	"os"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
)

// foreign is memory of others that is mapped for the port's device.
type foreign struct {
	p  *Port
	at dma.IOVA
}

// Close unmaps the memory.
func (f foreign) Close() error { return f.p.dev.DMA().Unmap(f.at) }

// Map lets the port send from memory that it does not own, such as the packet buffers of
// another port (TxBuffer.Attach), and returns the device address of its first byte. The
// memory stays open until Unmap or Close.
func (p *Port) Map(m *hugepage.Memory) (dma.IOVA, error) {
	p.closing.Lock()
	defer p.closing.Unlock()
	if p.closed {
		return 0, fmt.Errorf("map %s for %s: port is closed: %w", m.Name(), p.dev.Name(), os.ErrClosed)
	}
	at, err := p.dev.DMA().Map(m, dma.DeviceReads)
	if err != nil {
		return 0, fmt.Errorf("map %s for %s: %w", m.Name(), p.dev.Name(), err)
	}
	p.areas = append(p.areas, foreign{p, at})
	return at, nil
}

// Unmap undoes all calls of Map, so that the memory's owner may be closed. It first disables
// the transmit queues, which must not be used any more: those of a link that is down never
// become empty.
func (p *Port) Unmap() error {
	p.closing.Lock()
	defer p.closing.Unlock()
	if p.closed {
		return nil
	}
	var errs []error
	if p.err() == nil {
		p.lockState()
		disable := p.disableTransmit
		if p.virtual != nil {
			disable = p.disableVirtualTransmit
		}
		errs = append(errs, disable())
		p.state.Unlock()
	}
	kept := p.areas[:0]
	for _, a := range p.areas {
		if f, ok := a.(foreign); ok {
			errs = append(errs, f.Close())
		} else {
			kept = append(kept, a)
		}
	}
	p.areas = kept
	if err := errors.Join(errs...); err != nil && p.err() == nil {
		return fmt.Errorf("unmap foreign memory of %s: %w", p.dev.Name(), err)
	}
	return nil
}
