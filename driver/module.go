package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// ModuleKind is the kind of a module, for setting up the link.
type ModuleKind string

const (
	NoModule        ModuleKind = "no module"
	UnknownModule   ModuleKind = "module of unknown kind"
	Module10GSR     ModuleKind = "10GBASE-SR"
	Module10GLR     ModuleKind = "10GBASE-LR"
	ModulePassiveDA ModuleKind = "passive direct attach cable"
	ModuleActiveDA  ModuleKind = "active direct attach cable"
	Module1GT       ModuleKind = "1000BASE-T"
	Module1GSX      ModuleKind = "1000BASE-SX"
	Module1GLX      ModuleKind = "1000BASE-LX"
)

// Module is the module in a port's SFP+ cage, by its serial ID (SFF-8472).
type Module struct {
	Kind   ModuleKind
	Vendor string
	OUI    [3]byte // of the vendor
	Part   string
	Dual   bool // 10 and 1 Gb/s

	Revision   string // of the part
	Serial     string
	Date       string // of manufacture: year, month, day and lot as YYMMDDLL
	Wavelength int    // nm, 0 for a cable

	// Measures: the module has the page that Port.Diagnostics reads.
	Measures bool
	external bool // its raw values need the constants of that page
	average  bool // it measures average received power, else modulation amplitude
}

func (m Module) String() string {
	s := string(m.Kind)
	if about := strings.TrimSpace(m.Vendor + " " + m.Part); about != "" {
		s += " (" + about + ")"
	}
	return s
}

// only1G reports whether the module does not support 10 Gb/s.
func (m Module) only1G() bool {
	return m.Kind == Module1GT || m.Kind == Module1GSX || m.Kind == Module1GLX
}

// Bytes of the serial ID (SFF-8472, table 4-1).
const (
	idIdentifier = 0 // 3: SFP or SFP+
	id10G        = 3
	id1G         = 6
	idCable      = 8
	idVendor     = 20 // 16 characters
	idOUI        = 37 // 3 bytes
	idPart       = 40 // 16 characters
	idRevision   = 56 // 4 characters
	idCableSpec  = 60
	idWavelength = 60 // 2 bytes, nm; of a cable idCableSpec
	idChecksum   = 63 // of bytes 0 to 62
	idSerial     = 68 // 16 characters
	idDate       = 84 // 8 characters
	idMonitoring = 92
	idBytes      = 96

	// Bits of idMonitoring.
	monitors         = 6
	monitorsExternal = 4 // calibrated by constants in the module
	monitorsAverage  = 3
	monitorsPaged    = 2 // at the address of the serial ID, after a command: not supported
)

// parseModule decodes a serial ID. The order of the kinds is that of Linux
// (ixgbe_identify_sfp_module_generic).
func parseModule(id []byte) (Module, error) {
	var sum byte
	for _, b := range id[:idChecksum] {
		sum += b
	}
	m := Module{
		Kind:   UnknownModule,
		Vendor: printable(id[idVendor : idVendor+16]),
		OUI:    [3]byte(id[idOUI : idOUI+3]),
		Part:   printable(id[idPart : idPart+16]),

		Revision: printable(id[idRevision : idRevision+4]),
		Serial:   printable(id[idSerial : idSerial+16]),
		Date:     printable(id[idDate : idDate+8]),
	}
	switch {
	case sum != id[idChecksum]:
		return m, fmt.Errorf("serial ID of the module: checksum is %#02x, want %#02x", id[idChecksum], sum)
	case id[idIdentifier] != 3:
		return m, fmt.Errorf("serial ID of the module: identifier is %#02x, want 0x03 (SFP or SFP+)", id[idIdentifier])
	}
	bit := func(at int, n uint) bool { return id[at]>>n&1 != 0 }
	sr, lr, sx, lx := bit(id10G, 4), bit(id10G, 5), bit(id1G, 0), bit(id1G, 1)
	m.Dual = sr && sx || lr && lx
	m.Measures = bit(idMonitoring, monitors) && !bit(idMonitoring, monitorsPaged)
	m.external, m.average = bit(idMonitoring, monitorsExternal), bit(idMonitoring, monitorsAverage)
	if !bit(idCable, 2) && !bit(idCable, 3) {
		m.Wavelength = int(binary.BigEndian.Uint16(id[idWavelength:]))
	}
	switch {
	case bit(idCable, 2):
		m.Kind = ModulePassiveDA
	case bit(idCable, 3) && bit(idCableSpec, 2): // limiting; others are not for the 82599
		m.Kind = ModuleActiveDA
	case bit(idCable, 3):
	case sr:
		m.Kind = Module10GSR
	case lr:
		m.Kind = Module10GLR
	case bit(id1G, 3):
		m.Kind = Module1GT
	case sx:
		m.Kind = Module1GSX
	case lx:
		m.Kind = Module1GLX
	}
	return m, nil
}

// printable returns the text of a blank-filled field. The module may send any bytes,
// so characters that are not printable ASCII become dots.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(b)))
}

// cage is the SFP+ cage of a port.
type cage struct {
	bus    sync.Mutex // held for a transfer on the two-wire bus
	mu     sync.Mutex // guards the following fields
	module Module
	err    error // why it could not be identified
}

// Module returns the module that was identified when the port was opened, or when a
// module was last plugged in. The error is why it could not be identified, or that the
// port has no cage; the port works in either case.
func (p *Port) Module() (Module, error) {
	if p.model.medium != sfi {
		return Module{Kind: NoModule}, fmt.Errorf("%s: %s has no SFP+ cage", p.dev.Name(), p.model.name)
	}
	p.cage.mu.Lock()
	defer p.cage.mu.Unlock()
	return p.cage.module, p.cage.err
}

// moduleStart is how long a module may take to answer after power-up, ms
// (SFF-8431, t_serial).
const moduleStart = 300 * time.Millisecond

// identify reads the module's serial ID. A module that was just plugged in may need
// until timeout to answer. It returns an error only if the device is gone; why a
// module could not be identified is kept for Module.
func (p *Port) identify(timeout time.Duration) error {
	var m Module
	var err error
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var id []byte
		if id, err = p.readModule(i2cSerialID, idBytes); err == nil {
			if m, err = parseModule(id); err == nil {
				break
			}
		} else {
			m = Module{Kind: UnknownModule}
			if errors.Is(err, errNoModule) {
				m.Kind = NoModule
			}
		}
		if gone := p.err(); gone != nil {
			return gone
		}
		if time.Since(begin) >= timeout {
			break
		}
	}
	p.cage.mu.Lock()
	defer p.cage.mu.Unlock()
	p.cage.module, p.cage.err = m, err
	return nil
}

// readModule reads the first n bytes of the module's memory at an address, in transfers
// that do not hold the bus's semaphore for long.
func (p *Port) readModule(address byte, n int) (data []byte, err error) {
	const most = 64
	p.cage.bus.Lock()
	defer p.cage.bus.Unlock()
	if p.quitting() {
		return nil, os.ErrClosed
	}
	for at := 0; at < n; at += most {
		part, err := p.readI2C(address, byte(at), min(most, n-at))
		if err != nil {
			return nil, err
		}
		data = append(data, part...)
	}
	return data, nil
}

// ErrUnsupportedModule is wrapped in the error of a module that Config.AnyModule accepts.
var ErrUnsupportedModule = errors.New("--any-module (Config.AnyModule) accepts it; its link may not come up")

// checkSupported returns an error for a module that is not known to work, as Linux does
// (ixgbe_identify_sfp_module_generic): one of another kind, or optics of another vendor if
// the EEPROM has only Intel's allowed. One that could not be identified is not refused.
func (p *Port) checkSupported() error {
	m, failed := p.Module()
	if p.cfg.AnyModule || failed != nil || m.Kind == NoModule {
		return nil
	}
	about := strings.TrimSpace(m.Vendor + " " + m.Part)
	if m.Kind == UnknownModule {
		return fmt.Errorf("the module in the cage (%s) is of a kind that the 82599 is not made for: plug in a 10GBASE-SR or -LR module, "+
			"a direct attach cable or a 1000BASE-SX, -LX or -T module. %w", about, ErrUnsupportedModule)
	}
	if m.Kind != Module10GSR && m.Kind != Module10GLR || m.OUI == ouiIntel || p.cfg.SkipEEPROMCheck {
		return nil
	}
	release, err := p.acquire(reg.SW_FW_SYNC_EEPROM)
	if err != nil {
		return err
	}
	caps, err := p.readEEPROM(eepromCaps)
	if err = errors.Join(err, release()); err != nil || caps&capsAnyModule != 0 {
		return err
	}
	return fmt.Errorf("the module in the cage (%s) is not Intel's (OUI %02x:%02x:%02x), and this board's EEPROM (word %#x) allows only those: "+
		"plug in an Intel module or a direct attach cable. %w", about, m.OUI[0], m.OUI[1], m.OUI[2], eepromCaps, ErrUnsupportedModule)
}

// ouiIntel is Intel's OUI in a serial ID.
var ouiIntel = [3]byte{0x00, 0x1b, 0x21}

const (
	eepromCaps    = 0x2c
	capsAnyModule = 1 << 0
)

// The list of analog settings by module in the EEPROM: pairs of a kind and a
// pointer, then 0xffff; behind each pointer a length and words for CORECTL up to
// 0xffff (82599 EEPROM map, word 0x2B; Linux ixgbe_get_sfp_init_sequence_offsets).
const (
	eepromModules  = 0x2b
	eepromEnd      = 0xffff
	moduleKinds    = 64  // limit of the list
	moduleSettings = 256 // limit of the words of a module

	settingsDA    = 3 // and 4 for the second port of a controller
	settingsOptic = 5 // and 6; also for active cables and 1 Gb/s
)

// moduleSettingsOf returns the settings that the EEPROM has for the module, nil
// without an error if it has none.
func (p *Port) moduleSettingsOf(m Module) (words []uint16, err error) {
	if p.cfg.SkipEEPROMCheck || m.Kind == NoModule || m.Kind == UnknownModule {
		return nil, nil
	}
	kind := uint16(settingsOptic)
	if m.Kind == ModulePassiveDA {
		kind = settingsDA
	}
	if reg.STATUS_LAN_ID.Of(p.load(reg.STATUS)) != 0 {
		kind++
	}
	release, err := p.acquire(reg.SW_FW_SYNC_EEPROM)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	at, err := p.readEEPROM(eepromModules)
	if err != nil || at == 0 || at == eepromEnd {
		return nil, err
	}
	data := 0
	for i := range moduleKinds {
		entry, err := p.readEEPROM(int(at) + 1 + 2*i)
		if err != nil || entry == eepromEnd {
			return nil, err
		}
		if entry == kind {
			ptr, err := p.readEEPROM(int(at) + 2 + 2*i)
			if err != nil || ptr == 0 || ptr == eepromEnd {
				return nil, err
			}
			data = int(ptr)
			break
		}
	}
	for i := range moduleSettings {
		if data == 0 {
			break
		}
		w, err := p.readEEPROM(data + 1 + i)
		if err != nil {
			return nil, err
		}
		if w == eepromEnd {
			return words, nil
		}
		words = append(words, w)
	}
	return nil, nil // no end marker: not valid
}

// checkModule reports the module in the cage. If one was plugged in it identifies it
// and sets up its link.
func (w *watcher) checkModule(plugged bool) {
	p := w.p
	if p.model.medium != sfi {
		return
	}
	if plugged {
		if p.identify(moduleStart) != nil {
			return // the device is gone
		}
		err := p.checkSupported()
		if err == nil {
			err = p.setupLink()
			w.restarted()
		}
		if err != nil {
			if p.err() == nil {
				w.emit(ModuleUnsupported, fmt.Sprintf("module plugged in, but its link could not be set up: %v", err))
			}
			return
		}
	}
	m, err := p.Module()
	if m.Kind == NoModule {
		return // the link is reported down
	}
	if plugged {
		w.emit(ModuleChanged, "module plugged in: "+m.String())
	}
	switch {
	case err != nil:
		w.emit(ModuleUnsupported, fmt.Sprintf("%v: %v; its link may not come up", m, err))
	case m.Kind == UnknownModule:
		w.emit(ModuleUnsupported, fmt.Sprintf("%v: not known to work with an 82599; its link may not come up", m))
	}
}
