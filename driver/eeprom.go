package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// The EEPROM's layout, for its checksum.
const (
	eepromChecksum  = 0x3f   // word that completes the sum
	eepromSum       = 0xbaba // of words 0 to 0x3f and of the sections pointed to
	eepromFirstPtr  = 0x03   // words 3 to 0xe point to sections
	eepromLastPtr   = 0x0e   // (0xf points to firmware, which has a checksum of its own)
	eepromPHYPtr    = 0x04   // of an X540 and X550: not in the sum
	eepromROMPtr    = 0x05   // likewise
	eepromWords     = 1 << 14
	semaphoreLimit  = time.Second
	eepromReadLimit = 100 * time.Millisecond
)

// ErrNoEEPROM is wrapped in the error of a port without a valid EEPROM.
var ErrNoEEPROM = errors.New("no EEPROM with a valid signature")

// checkEEPROM verifies the EEPROM's checksum, which the device does not: it would
// use the settings of a damaged EEPROM.
func (p *Port) checkEEPROM() (err error) {
	if p.cfg.SkipEEPROMCheck {
		return nil
	}
	if reg.EEC_PRES.Of(p.load(reg.EEC)) == 0 {
		return ErrNoEEPROM
	}
	release, err := p.acquire(reg.SW_FW_SYNC_EEPROM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	layout := p.model.checksum()
	words, err := p.readNVM(0, layout.words)
	if err != nil {
		return err
	}
	var sum uint16
	for _, w := range words {
		sum += w
	}
	for ptr := layout.firstPtr; ptr <= eepromLastPtr; ptr++ {
		if p.model.family != family82599 && (ptr == eepromPHYPtr || ptr == eepromROMPtr) {
			continue
		}
		section, err := p.sumSection(int(words[ptr]), layout.fixed[ptr])
		if err != nil {
			return err
		}
		sum += section
	}
	if sum != eepromSum {
		return fmt.Errorf("EEPROM sum is %#04x, want %#04x: the EEPROM is damaged (Config.SkipEEPROMCheck ignores it)", sum, eepromSum)
	}
	return nil
}

// checksumLayout is what the checksum of an NVM covers besides the sections.
type checksumLayout struct {
	words    int // the first ones, the checksum itself included
	firstPtr int // word of the first pointer to a section
	fixed    map[int]int
}

// checksum returns the layout. An X550 covers two words and a section more, and its
// PCI Express sections have no length but a fixed one (Linux, ixgbe_calc_checksum_X550).
func (m model) checksum() checksumLayout {
	if m.family == familyX550 {
		return checksumLayout{words: 0x42, firstPtr: 0x02, fixed: map[int]int{0x06: 0x24, 0x07: 8, 0x08: 8}}
	}
	return checksumLayout{words: eepromChecksum + 1, firstPtr: eepromFirstPtr}
}

// sumSection returns the sum of the section at word at: its length, then that many words,
// or words of a fixed length.
func (p *Port) sumSection(at, fixed int) (sum uint16, err error) {
	if at == 0 || at == 0xffff {
		return 0, nil // no such section
	}
	n := fixed
	if fixed == 0 {
		length, err := p.readEEPROM(at)
		if err != nil || length == 0 || length == 0xffff {
			return 0, err
		}
		at, n = at+1, int(length)
	}
	if at+n > eepromWords {
		return 0, fmt.Errorf("EEPROM section at word %#x: its %d words go beyond the end", at, n)
	}
	words, err := p.readNVM(at, n)
	for _, w := range words {
		sum += w
	}
	return sum, err
}

// readEEPROM reads one 16-bit word. Its number may come from a pointer in the EEPROM, so
// it is checked.
func (p *Port) readEEPROM(word int) (uint16, error) {
	if word >= eepromWords {
		return 0, fmt.Errorf("EEPROM points to word %#x of %#x (Config.SkipEEPROMCheck ignores it)", word, eepromWords)
	}
	words, err := p.readNVM(word, 1)
	if err != nil {
		return 0, err
	}
	return words[0], nil
}

// readNVM reads n 16-bit words: by EERD (8.2.3.2.2), or commands to the firmware.
func (p *Port) readNVM(at, n int) (words []uint16, err error) {
	for len(words) < n {
		next := at + len(words)
		if p.model.family == familyX550 {
			part, err := p.readByFirmware(next, min(n-len(words), firmwareWords))
			if err != nil {
				return nil, fmt.Errorf("read NVM words from %#x: %w", next, err)
			}
			words = append(words, part...)
			continue
		}
		p.store(reg.EERD, reg.EERD_ADDR.Val(uint32(next))|reg.EERD_START.Val(1))
		if err := p.wait(reg.EERD, eepromReadLimit, to(reg.EERD_DONE, 1)); err != nil {
			return nil, fmt.Errorf("read EEPROM word %#x: %w", next, err)
		}
		words = append(words, uint16(reg.EERD_DATA.Of(p.load(reg.EERD))))
	}
	return words, nil
}

// acquire acquires a resource that the port's other function and the firmware use
// too: its bit in SW_FW_SYNC, which may only be changed under both semaphores of
// SWSM (10.5.4). The caller holds the resource until release. Software that has
// held it for all of semaphoreLimit is assumed dead and loses it, as with DPDK
// (ixgbe_swfw_lock_reset): a reset does not free it, because the ports share it.
func (p *Port) acquire(r reg.Resource) (release func() error, err error) {
	software, claimed := r.Software.Mask(), r.Software.Mask()|r.Firmware.Mask()
	if p.model.family != family82599 && r == reg.SW_FW_SYNC_EEPROM {
		claimed |= reg.SW_FW_SYNC_FLASH.Mask()
	}
	var since time.Time // when it was first seen to be held
	for {
		expired, acquired := !since.IsZero() && time.Since(since) >= semaphoreLimit, false
		var last uint32
		err := p.withSemaphores(func() {
			last = p.load(reg.SW_FW_SYNC)
			if holder := last & claimed; holder == 0 || expired && holder == software {
				p.store(reg.SW_FW_SYNC, last|software)
				acquired = true
			}
		})
		if err != nil {
			return nil, err
		}
		if acquired {
			return func() error {
				return p.withSemaphores(func() { p.change(reg.SW_FW_SYNC, to(r.Software, 0)) })
			}, nil
		}
		if err := p.err(); err != nil {
			return nil, fmt.Errorf("wait for %s: %w", r.Software, err)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if expired {
			return nil, waitError(reg.SW_FW_SYNC, semaphoreLimit, last, to(r.Software, 0), to(r.Firmware, 0))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// withSemaphores runs f while neither another driver (SMBI) nor the firmware
// (SWESMBI; REGSMP of an X540 and X550) can change SW_FW_SYNC.
func (p *Port) withSemaphores(f func()) error {
	// Reading SMBI as 0 acquires it.
	err := p.wait(reg.SWSM, semaphoreLimit, to(reg.SWSM_SMBI, 0))
	var held *WaitError
	if errors.As(err, &held) {
		// A holder that is alive does not keep it that long. It is cleared, as in
		// Linux (ixgbe_get_eeprom_semaphore), and must then be free.
		p.change(reg.SWSM, to(reg.SWSM_SMBI, 0), to(reg.SWSM_SWESMBI, 0))
		if reg.SWSM_SMBI.Of(p.load(reg.SWSM)) == 0 {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		p.change(reg.SWSM, to(reg.SWSM_SMBI, 0), to(reg.SWSM_SWESMBI, 0))
		p.flush()
	}()
	if p.model.family != family82599 {
		return p.withREGSMP(f)
	}
	// SWESMBI reads back 1 once the firmware does not hold it.
	deadline := time.Now().Add(semaphoreLimit)
	for {
		now := time.Now()
		p.change(reg.SWSM, to(reg.SWSM_SWESMBI, 1))
		v := p.load(reg.SWSM)
		if err := p.err(); err != nil {
			return fmt.Errorf("wait for %s: %w", reg.SWSM_SWESMBI, err)
		}
		if reg.SWSM_SWESMBI.Of(v) != 0 {
			f()
			return nil
		}
		if now.After(deadline) {
			return waitError(reg.SWSM, semaphoreLimit, v, to(reg.SWSM_SWESMBI, 1))
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// withREGSMP runs f while the firmware of an X540 or X550 cannot change SW_FW_SYNC: reading
// REGSMP as 0 acquires it (Linux, ixgbe_get_swfw_sync_semaphore). SMBI is held.
func (p *Port) withREGSMP(f func()) error {
	err := p.wait(reg.SW_FW_SYNC, semaphoreLimit, to(reg.SW_FW_SYNC_REGSMP, 0))
	var held *WaitError
	if errors.As(err, &held) {
		// As SMBI: a holder that is alive does not keep it that long.
		p.change(reg.SW_FW_SYNC, to(reg.SW_FW_SYNC_REGSMP, 0))
		if reg.SW_FW_SYNC_REGSMP.Of(p.load(reg.SW_FW_SYNC)) == 0 {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	f()
	p.change(reg.SW_FW_SYNC, to(reg.SW_FW_SYNC_REGSMP, 0))
	return nil
}
