package pci

// Names of devices:
//
//	0000:03:00.0               a function by its address (kernel VFIO)
//	eth2                       a function by its interface name (kernel VFIO)
//	NAME,vf_token=UUID         the same, with the token of virtual functions (VFToken)
//	vfio-group:NAME            the same, through group and container
//	vfio-iommufd:NAME          the same, through its own device node and iommufd
//	vfio-user:/run/nic.sock    a vfio-user server
//	sim:pcap=FILE,rate=line    the software 82599, when package sim is imported
//
// Transports register schemes, as drivers do with database/sql.

import (
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Opener opens a device by the part of its name after "scheme:".
type Opener func(rest string) (Device, error)

var (
	schemesMu sync.RWMutex
	schemes   = map[string]Opener{}
)

// Register registers a scheme for Open. It panics if the scheme is registered.
func Register(scheme string, open Opener) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if _, taken := schemes[scheme]; taken {
		panic("pci: scheme " + scheme + " registered twice")
	}
	schemes[scheme] = open
}

// Open opens the device with the given name.
func Open(name string) (Device, error) { return open(name, Host()) }

func open(name string, r Resolver) (Device, error) {
	scheme, rest, found := strings.Cut(name, ":")
	schemesMu.RLock()
	opener := schemes[scheme]
	schemesMu.RUnlock()
	if found && opener != nil {
		return opener(rest)
	}
	function, _, _ := strings.Cut(name, tokenOption)
	if _, err := ParseAddress(function); err == nil || !found && name != "" {
		return openFunction(r, name) // an interface's name has no colon
	} else if addressLike(name) {
		return nil, fmt.Errorf("open device: %w", err)
	}
	return nil, fmt.Errorf("open device %q: %w", name, errNoScheme())
}

// addressLike reports whether a name can only be an address.
func addressLike(name string) bool {
	const digits = "0123456789abcdefABCDEF"
	return strings.ContainsAny(name, digits) && strings.Trim(name, digits+":.") == ""
}

func known() []string {
	schemesMu.RLock()
	defer schemesMu.RUnlock()
	names := make([]string, 0, len(schemes))
	for s := range schemes {
		names = append(names, s+":")
	}
	sort.Strings(names)
	return names
}

// Noticer is implemented by devices that are not quite what their name says: the model
// that replays a file leaves packets out or changes them.
type Noticer interface {
	// Notices returns what the user should know, a sentence each.
	Notices() []string
}

// Ender is implemented by devices with a finite source of frames: the model that
// replays a file.
type Ender interface {
	// Ended is closed after the last frame was written to memory or counted as
	// missed.
	Ended() <-chan struct{}
}

// SendRecorder is implemented by devices that know when they send frames: the model. It is
// the reference for the spacing of what a program sends.
type SendRecorder interface {
	// RecordSent forgets what was recorded and records the next so many frames. Frames
	// with a wrong CRC, which no receiver takes, are left out.
	RecordSent(frames int)

	// Sent returns the frames recorded since, in the order in which they left the port,
	// and the number of those beyond.
	Sent() (frames []SentFrame, more uint64)
}

// SentFrame is a frame that a device has sent.
type SentFrame struct {
	At    int64 // its last bit left the port, ns since 1970
	Len   int   // bytes, without CRC
	Queue int

	// Late is the time in ns for which the queue's rate limiter waited for the frame,
	// because it had not been posted. 0 without a rate limit.
	Late int64
}
