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
	var words [eepromChecksum + 1]uint16
	var sum uint16
	for i := range words {
		if words[i], err = p.readEEPROM(i); err != nil {
			return err
		}
		sum += words[i]
	}
	for ptr := eepromFirstPtr; ptr <= eepromLastPtr; ptr++ {
		section, err := p.sumSection(int(words[ptr]))
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

// sumSection returns the sum of the section at word at: a length, then that many words.
func (p *Port) sumSection(at int) (sum uint16, err error) {
	if at == 0 || at == 0xffff {
		return 0, nil // no such section
	}
	if at >= eepromWords {
		return 0, fmt.Errorf("EEPROM points to word %#x of %#x", at, eepromWords)
	}
	n, err := p.readEEPROM(at)
	if err != nil || n == 0 || n == 0xffff {
		return 0, err
	}
	for i := range int(n) {
		if at+1+i >= eepromWords {
			return 0, fmt.Errorf("EEPROM section at word %#x: its %d words go beyond the end", at, n)
		}
		word, err := p.readEEPROM(at + 1 + i)
		if err != nil {
			return 0, err
		}
		sum += word
	}
	return sum, nil
}

// readEEPROM reads one 16-bit word (8.2.3.2.2). Its number may come from a pointer in
// the EEPROM, so it is checked.
func (p *Port) readEEPROM(word int) (uint16, error) {
	if word >= eepromWords {
		return 0, fmt.Errorf("EEPROM points to word %#x of %#x (Config.SkipEEPROMCheck ignores it)", word, eepromWords)
	}
	p.store(reg.EERD, reg.EERD_ADDR.Val(uint32(word))|reg.EERD_START.Val(1))
	if err := p.wait(reg.EERD, eepromReadLimit, to(reg.EERD_DONE, 1)); err != nil {
		return 0, fmt.Errorf("read EEPROM word %#x: %w", word, err)
	}
	return uint16(reg.EERD_DATA.Of(p.load(reg.EERD))), nil
}

// acquire acquires a resource that the port's other function and the firmware use
// too: its bit in SW_FW_SYNC, which may only be changed under both semaphores of
// SWSM (10.5.4). The caller holds the resource until release. Software that has
// held it for all of semaphoreLimit is assumed dead and loses it, as with DPDK
// (ixgbe_swfw_lock_reset): a reset does not free it, because the ports share it.
func (p *Port) acquire(r reg.Resource) (release func() error, err error) {
	software, claimed := r.Software.Mask(), r.Software.Mask()|r.Firmware.Mask()
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
// (SWESMBI) can change SW_FW_SYNC.
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
