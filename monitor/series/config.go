package series

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Limits of a Config.
const (
	MaxExpressions = 48
	MaxDelay       = 5 * time.Second
)

// DefaultDelay is how long after its end a second is open, for packets of queues that are
// read later than others.
const DefaultDelay = time.Second

// Expression is a named filter expression, in the language of tcpdump.
type Expression struct {
	Name string // letters, digits, and _ . - within; at most 32 bytes
	Text string
}

// Config configures a Recorder. Zero values are the defaults.
type Config struct {
	// Outbound is the expression that packets to the outside match; others are inbound.
	// Without it no directions are counted.
	Outbound string

	// Expressions are counted beside the protocols. A packet may match several.
	Expressions []Expression

	Delay time.Duration // default DefaultDelay, at most MaxDelay

	// ByStamps closes seconds by the stamps of packets, for the packets of files. Else
	// Advance does by the clock.
	ByStamps bool

	// OnPoint gets each second when it is closed, in order. The point is valid until the
	// function returns, which must not call the Recorder.
	OnPoint func(*Point)
}

// The series of every Recorder. Those of directions and expressions follow them, in this
// order: out, in, expressions.
const (
	All     = iota // each packet
	IPv4           // by the EtherType behind VLAN tags and PPPoE
	IPv6           //
	NonIP          // neither
	TCP            // by the protocol behind IP and the extension headers of IPv6
	UDP            //
	ICMP           // of IPv4 and of IPv6
	SCTP           //
	OtherIP        // IP with another protocol, or too short for one
	builtin
)

var builtinNames = [builtin]string{"all", "ipv4", "ipv6", "non_ip", "tcp", "udp", "icmp", "sctp", "other_ip"}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)

// classes are what packets are counted by.
type classes struct {
	names     []string
	direction bool
	filters   []*pcapfilter.Classifier // of the direction, if there is one, and of the expressions
	first     int                      // series of the first expression
}

func newClasses(c *Config) (*classes, error) {
	k := &classes{names: slices.Clone(builtinNames[:])}
	if c.Outbound != "" {
		if err := k.add(c.Outbound); err != nil {
			return nil, fmt.Errorf("series: direction: %w", err)
		}
		k.direction = true
		k.names = append(k.names, "out", "in")
	}
	k.first = len(k.names)
	if len(c.Expressions) > MaxExpressions {
		return nil, fmt.Errorf("series: %d expressions: at most %d are possible", len(c.Expressions), MaxExpressions)
	}
	for _, e := range c.Expressions {
		if !validName.MatchString(e.Name) {
			return nil, fmt.Errorf("series: name %q of an expression: want 1 to 32 letters, digits, _ . -", e.Name)
		}
		if slices.Contains(k.names, e.Name) {
			return nil, fmt.Errorf("series: name %q is given twice, or that of a series which is always counted: choose another", e.Name)
		}
		if err := k.add(e.Text); err != nil {
			return nil, fmt.Errorf("series %s: %w", e.Name, err)
		}
		k.names = append(k.names, e.Name)
	}
	return k, nil
}

// add adds a filter. A classifier of one filter tests a batch faster than Match does.
func (k *classes) add(text string) error {
	f, err := pcapfilter.Compile(text)
	if err != nil {
		return err
	}
	c, err := pcapfilter.NewClassifier([]*pcapfilter.Filter{f})
	if err != nil {
		return err
	}
	k.filters = append(k.filters, c)
	return nil
}
