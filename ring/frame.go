package ring

// Frame is one received frame as its write-back descriptors describe it.
//
// Data and Rest point into memory the device writes: they are valid until the
// queue that filled the Frame releases it. Len equals len(Data) plus the lengths in
// Rest: the length in bytes without the CRC, or with it if Info has HasCRC.
type Frame struct {
	Data []byte   // first buffer of the frame; all of it when Rest is nil
	Rest [][]byte // further buffers of a multi-descriptor frame, in order
	Len  uint32   // bytes of the frame
	Hash uint32   // RSS hash, 0 when the device computed none
	VLAN uint16   // 802.1Q tag (PCP, DEI, VID), valid with HasVLAN
	Info Info     // the device's classification of the frame

	// Buffer is the number of the first packet buffer in its pool, if the queue has one.
	Buffer uint32
}

// Info is the device's classification of a received frame.
type Info uint16

const (
	HasHash    Info = 1 << iota // Hash is valid
	HasVLAN                     // the frame carries (or carried) an 802.1Q tag, see VLAN
	Stripped                    // the device removed the tag from the frame's bytes
	IPv4                        // IPv4 header recognised
	IPv6                        // IPv6 header recognised
	TCP                         // TCP header recognised
	UDP                         // UDP header recognised
	IPChecked                   // IPv4 header checksum was verified
	IPBad                       // ... and is wrong
	L4Checked                   // TCP or UDP checksum was verified
	L4Bad                       // ... and is wrong
	FrameError                  // the MAC reported an error, see Info.Fault
	HasCRC                      // the last 4 bytes are the frame's CRC, the lowest first
	CRCBad                      // ... and it is wrong
)

// Fault is what is wrong with a frame.
type Fault string

// Faults. The MAC reports only that there is one; CRC and length tell most of them apart.
const (
	NoFault   Fault = ""
	WrongCRC  Fault = "wrong CRC"
	Undersize Fault = "undersize"  // fewer than 64 bytes with CRC
	Fragment  Fault = "fragment"   // the same, with a wrong CRC
	BadSymbol Fault = "bad symbol" // or longer than the port receives
)

// Fault returns what is wrong with a frame of a length in bytes, CRC included, that has
// HasCRC.
func (i Info) Fault(length uint32) Fault {
	const shortest = 64
	switch {
	case i&FrameError == 0:
		return NoFault
	case length < shortest && i&CRCBad != 0:
		return Fragment
	case length < shortest:
		return Undersize
	case i&CRCBad != 0:
		return WrongCRC
	}
	return BadSymbol
}
