package proto

import (
	"encoding/json"
	"fmt"
)

// Version of the protocol.
const (
	Major = 0
	Minor = 1
)

// Limits of this implementation. Capabilities announce them.
const (
	// MaxTransfer is the most data of one read or write message, in bytes.
	MaxTransfer = 1 << 20
	// MaxFDs is the most descriptors of one message. The kernel's limit is 253
	// (SCM_MAX_FD).
	MaxFDs = 128
	// ServerFDs is the limit that a server announces. QEMU's client rejects more
	// than 16.
	ServerFDs = 16
	// MaxMaps is the most DMA ranges of a server at a time. A VM with a translating
	// IOMMU maps each packet buffer separately.
	MaxMaps = 65535
	// PageSizes are the page sizes of DMA maps, one bit per size: 4 KiB to 1 GiB.
	PageSizes = 2<<30 - 4<<10
	// MaxMessage is the most bytes of a message: the largest transfer and the largest
	// fixed part, rounded up.
	MaxMessage = MaxTransfer + 4096
	// maxVersionData is the most bytes of JSON in VERSION.
	maxVersionData = 16 << 10
)

// The specification's defaults of missing capabilities.
const (
	defaultMaxFDs      = 1
	defaultMaxTransfer = 1 << 20
	defaultMaxMaps     = 65535
	defaultPageSizes   = 4 << 10
)

// Capabilities are the capabilities of the sender of VERSION. Migration and the twin
// socket are not supported.
type Capabilities struct {
	MaxFDs        int    // descriptors per message
	MaxTransfer   int    // bytes per data message
	MaxMaps       int    // DMA ranges at a time
	PageSizes     uint64 // of DMA maps, one bit per size
	WriteMultiple bool   // REGION_WRITE_MULTI is supported
}

// Proposal returns the VERSION request of a client.
func Proposal() VersionMsg {
	return VersionMsg{Major, Minor, Capabilities{MaxFDs: MaxFDs, MaxTransfer: MaxTransfer, MaxMaps: MaxMaps, PageSizes: PageSizes, WriteMultiple: true}}
}

// VersionMsg is the body of VERSION, request and reply.
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

// Append appends the body to b: version numbers, JSON, NUL.
func (v VersionMsg) Append(b []byte) []byte {
	b = order.AppendUint16(b, v.Major)
	b = order.AppendUint16(b, v.Minor)
	c := v.Capabilities
	// Formatted without encoding/json, which could fail.
	b = fmt.Appendf(b, `{"capabilities":{"max_msg_fds":%d,"max_data_xfer_size":%d,"max_dma_maps":%d,"pgsizes":%d`,
		c.MaxFDs, c.MaxTransfer, c.MaxMaps, c.PageSizes)
	if c.WriteMultiple {
		b = append(b, `,"write_multiple":true`...)
	}
	return append(b, '}', '}', 0)
}

// ParseVersion decodes the body of VERSION. Missing capabilities have the specification's
// defaults; numbers are limited to those of this package.
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
		return VersionMsg{}, bad("version: %d bytes of JSON, want at most %d", len(data), maxVersionData)
	}
	if data[len(data)-1] != 0 {
		return VersionMsg{}, bad("version: JSON does not end with NUL")
	}
	var j versionJSON
	if err := json.Unmarshal(data[:len(data)-1], &j); err != nil {
		return VersionMsg{}, bad("version: %v", err)
	}
	if j.Capabilities == nil {
		return v, nil
	}
	return v, v.Capabilities.set(j.Capabilities)
}

// set sets the capabilities that are present.
func (c *Capabilities) set(j *capabilitiesJSON) error {
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

// Negotiate returns the server's reply to a proposal: the same major version, the smaller
// minor version, and the server's limits. It has no capability that the client did not
// propose.
func Negotiate(proposal VersionMsg) (VersionMsg, error) {
	if proposal.Major != Major {
		return VersionMsg{}, bad("version: peer has %d.%d, want %d.%d", proposal.Major, proposal.Minor, Major, Minor)
	}
	return VersionMsg{Major, min(proposal.Minor, Minor), Capabilities{
		MaxFDs: ServerFDs, MaxTransfer: MaxTransfer, MaxMaps: MaxMaps, PageSizes: PageSizes,
		WriteMultiple: proposal.Capabilities.WriteMultiple,
	}}, nil
}

// CheckReply checks a server's reply to Proposal.
func CheckReply(reply VersionMsg) error {
	if reply.Major != Major || reply.Minor > Minor {
		return bad("version: reply with %d.%d to %d.%d", reply.Major, reply.Minor, Major, Minor)
	}
	return nil
}
