package proto

import (
	"encoding/json"
	"fmt"
)

// Protocol version spoken here.
const (
	Major = 0
	Minor = 1
)

// Limits of this implementation, announced in Capabilities and enforced.
const (
	// MaxTransfer is the most data one read or write message may carry, bytes.
	MaxTransfer = 1 << 20
	// MaxFDs is the most descriptors a message may carry. The kernel stops at
	// 253 (SCM_MAX_FD).
	MaxFDs = 128
	// ServerFDs is what a server announces: QEMU's client refuses a server that
	// claims more than 16.
	ServerFDs = 16
	// MaxMaps is how many DMA ranges a server here accepts at once. Guests whose
	// IOMMU translates map every packet buffer by itself.
	MaxMaps = 65535
	// PageSizes are those of DMA maps, or'ed together: every power of two from
	// 4 KiB to 1 GiB.
	PageSizes = 2<<30 - 4<<10
	// MaxMessage bounds the size of a message: the largest transfer plus the
	// largest fixed part, rounded up.
	MaxMessage = MaxTransfer + 4096
	// maxVersionData bounds the JSON of VERSION.
	maxVersionData = 16 << 10
)

// Defaults the specification gives to capabilities that a peer leaves out.
const (
	defaultMaxFDs      = 1
	defaultMaxTransfer = 1 << 20
	defaultMaxMaps     = 65535
	defaultPageSizes   = 4 << 10
)

// Capabilities are what the sender of VERSION can do. Migration and the twin
// socket are not offered and not read.
type Capabilities struct {
	MaxFDs        int    // descriptors it takes in one message
	MaxTransfer   int    // bytes it takes in one data message
	MaxMaps       int    // DMA ranges valid at once
	PageSizes     uint64 // of DMA maps, or'ed
	WriteMultiple bool   // REGION_WRITE_MULTI is understood
}

// Proposal is the VERSION that a client here sends.
func Proposal() VersionMsg {
	return VersionMsg{Major, Minor, Capabilities{MaxFDs: MaxFDs, MaxTransfer: MaxTransfer, MaxMaps: MaxMaps, PageSizes: PageSizes, WriteMultiple: true}}
}

// VersionMsg is the body of VERSION, request and reply alike.
type VersionMsg struct {
	Major, Minor uint16
	Capabilities Capabilities
}

type versionJSON struct {
	Capabilities *capabilitiesJSON `json:"capabilities,omitempty"`
}

type capabilitiesJSON struct {
	MaxFDs        *uint32 `json:"max_msg_fds,omitempty"`
	MaxTransfer   *uint32 `json:"max_data_xfer_size,omitempty"`
	MaxMaps       *uint32 `json:"max_dma_maps,omitempty"`
	PageSizes     *uint64 `json:"pgsizes,omitempty"`
	WriteMultiple *bool   `json:"write_multiple,omitempty"`
}

// Append adds the body to b: version numbers, JSON, the NUL that ends it.
func (v VersionMsg) Append(b []byte) []byte {
	b = order.AppendUint16(b, v.Major)
	b = order.AppendUint16(b, v.Minor)
	c := v.Capabilities
	// Written by hand: five numbers need no encoder that could fail.
	b = fmt.Appendf(b, `{"capabilities":{"max_msg_fds":%d,"max_data_xfer_size":%d,"max_dma_maps":%d,"pgsizes":%d`,
		c.MaxFDs, c.MaxTransfer, c.MaxMaps, c.PageSizes)
	if c.WriteMultiple {
		b = append(b, `,"write_multiple":true`...)
	}
	return append(b, '}', '}', 0)
}

// ParseVersion decodes the body of VERSION. Capabilities that the peer left
// out have the specification's defaults; numbers beyond what this package can
// use are cut down to it.
func ParseVersion(b []byte) (VersionMsg, error) {
	if len(b) < 4 {
		return VersionMsg{}, short("version", len(b), 4)
	}
	v := VersionMsg{
		Major: order.Uint16(b), Minor: order.Uint16(b[2:]),
		Capabilities: Capabilities{MaxFDs: defaultMaxFDs, MaxTransfer: defaultMaxTransfer, MaxMaps: defaultMaxMaps, PageSizes: defaultPageSizes},
	}
	data := b[4:]
	if len(data) == 0 {
		return v, nil
	}
	if len(data) > maxVersionData {
		return VersionMsg{}, bad("version: %d bytes of JSON, at most %d are taken", len(data), maxVersionData)
	}
	if data[len(data)-1] != 0 {
		return VersionMsg{}, bad("version: JSON does not end in NUL")
	}
	var j versionJSON
	if err := json.Unmarshal(data[:len(data)-1], &j); err != nil {
		return VersionMsg{}, bad("version: %v", err)
	}
	if j.Capabilities == nil {
		return v, nil
	}
	return v, v.Capabilities.take(j.Capabilities)
}

func (c *Capabilities) take(j *capabilitiesJSON) error {
	if j.MaxFDs != nil {
		c.MaxFDs = int(min(*j.MaxFDs, MaxFDs))
	}
	if j.MaxTransfer != nil {
		if *j.MaxTransfer == 0 {
			return bad("version: max_data_xfer_size is 0")
		}
		c.MaxTransfer = int(min(*j.MaxTransfer, MaxTransfer))
	}
	if j.MaxMaps != nil {
		if *j.MaxMaps == 0 {
			return bad("version: max_dma_maps is 0")
		}
		c.MaxMaps = int(min(*j.MaxMaps, defaultMaxMaps))
	}
	if j.PageSizes != nil {
		if *j.PageSizes == 0 {
			return bad("version: pgsizes is 0")
		}
		c.PageSizes = *j.PageSizes
	}
	c.WriteMultiple = j.WriteMultiple != nil && *j.WriteMultiple
	return nil
}

// Negotiate is the server's answer to a proposal: the same major version, the
// smaller minor version, and its own limits. A capability the client did not
// propose is not claimed.
func Negotiate(proposal VersionMsg) (VersionMsg, error) {
	if proposal.Major != Major {
		return VersionMsg{}, bad("version: peer speaks %d.%d, this side %d.%d", proposal.Major, proposal.Minor, Major, Minor)
	}
	return VersionMsg{Major, min(proposal.Minor, Minor), Capabilities{
		MaxFDs: ServerFDs, MaxTransfer: MaxTransfer, MaxMaps: MaxMaps, PageSizes: PageSizes,
		WriteMultiple: proposal.Capabilities.WriteMultiple,
	}}, nil
}

// CheckReply checks a server's answer to a proposal of this package.
func CheckReply(reply VersionMsg) error {
	if reply.Major != Major || reply.Minor > Minor {
		return bad("version: server answers %d.%d to %d.%d", reply.Major, reply.Minor, Major, Minor)
	}
	return nil
}
