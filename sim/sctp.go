package sim

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctpSum is the CRC32c of an SCTP packet with its checksum field taken as zero.
func sctpSum(p []byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, p[:8])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, p[12:])
}

func sctpOK(p []byte) bool { return binary.LittleEndian.Uint32(p[8:]) == sctpSum(p) }

func sctpSet(p []byte) { binary.LittleEndian.PutUint32(p[8:], sctpSum(p)) }
