package driver

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Commands to the firmware of an X550 (Linux, ixgbe_hic_unlocked and
// ixgbe_read_ee_hostif_buffer_X550).
const (
	firmwareRead  = 0x31 // words of the NVM
	firmwareWords = 122  // that one command reads at most (FreeBSD, FW_MAX_READ_BUFFER_SIZE)
	firmwareData  = 3    // register of FLEX_MNG with the first of them
	firmwareLimit = 500 * time.Millisecond
)

// readByFirmware reads n words of the NVM, at most firmwareWords.
func (p *Port) readByFirmware(at, n int) (words []uint16, err error) {
	release, err := p.acquire(reg.SW_FW_SYNC_MNG)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if reg.HICR_EN.Of(p.load(reg.HICR)) == 0 {
		return nil, fmt.Errorf("%s is 0: the firmware takes no commands", reg.HICR_EN)
	}
	// Command, length and checksum of the header; address and length in bytes, most
	// significant first.
	p.store(reg.FLEX_MNG(0), firmwareRead|6<<16|0xff<<24)
	p.store(reg.FLEX_MNG(1), bits.ReverseBytes32(uint32(2*at)))
	p.store(reg.FLEX_MNG(2), uint32(bits.ReverseBytes16(uint16(2*n))))
	p.change(reg.HICR, to(reg.HICR_C, 1))
	if err := p.wait(reg.HICR, firmwareLimit, to(reg.HICR_C, 0)); err != nil {
		return nil, err
	}
	if reg.HICR_SV.Of(p.load(reg.HICR)) == 0 {
		return nil, fmt.Errorf("%s is 0: the firmware has refused the command", reg.HICR_SV)
	}
	for i := range n {
		words = append(words, uint16(p.load(reg.FLEX_MNG(firmwareData+i/2))>>(16*(i%2))))
	}
	return words, nil
}
