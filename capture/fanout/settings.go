package fanout

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Limits of a text of settings.
const (
	MaxText   = 4096 // bytes
	MaxName   = 200  // bytes of a member's name
	MaxWeight = 255
	maxGroup  = 65535

	// DefaultThreshold is the threshold of a group of mode Buddy without one, in percent. A
	// stream's memory is used in turn, so what a member leaves unread keeps what lies behind
	// it, which others have read: a low threshold leaves room for that.
	DefaultThreshold = 10
)

// Mode is the rule by which a group's frames are divided. The first six are those of
// packet(7), PACKET_FANOUT.
type Mode uint8

const (
	// Unset is that a text has no mode: the group's present one, else Hash.
	Unset Mode = iota
	// Hash divides flows: both directions of a flow go to one member.
	Hash
	// LB gives frames to the members in turn.
	LB
	// RND gives each frame to a random member.
	RND
	// CPU chooses the member by the core that receives.
	CPU
	// Rollover gives frames to one member until it falls behind, then to the next.
	Rollover
	// QM chooses the member by the receive queue.
	QM
	// Consistent divides flows as Hash does, and a member that joins or leaves moves
	// only its own share of them.
	Consistent
	// Filter gives a frame to the first member whose expression it matches.
	Filter
	// Buddy chooses the member as QM does, and while that one's backlog is above the
	// group's threshold the member with the shortest (WireCAP, advanced mode).
	Buddy

	modes
)

var modeNames = [modes]string{"", "hash", "lb", "rnd", "cpu", "rollover", "qm", "consistent", "filter", "buddy"}

// String returns the name as ParseMode reads it; it is empty for Unset.
func (m Mode) String() string {
	if m >= modes {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return modeNames[m]
}

// ParseMode parses the name of a mode.
func ParseMode(s string) (Mode, error) {
	for m := Hash; m < modes; m++ {
		if s == modeNames[m] {
			return m, nil
		}
	}
	return Unset, fmt.Errorf("mode %q: choose one of %s", s, strings.Join(modeNames[Hash:], ", "))
}

// Tunnels are the tunnels behind which the innermost flow of a frame is looked for.
type Tunnels = headers.Tunnels

// The tunnels, see package headers.
const (
	MPLS       = headers.MPLS
	GRE        = headers.GRE
	VXLAN      = headers.VXLAN
	GTPU       = headers.GTPU
	IPIP       = headers.IPIP
	AllTunnels = headers.AllTunnels
)

// Departed is what happens to the frames that a member has not read when it leaves.
type Departed uint8

const (
	// DepartedUnset is that a text does not say: the group's present rule, else
	// Redistribute.
	DepartedUnset Departed = iota
	// Redistribute gives them to the other members.
	Redistribute
	// CountLost counts them as lost.
	CountLost
)

// String returns the word in a text of settings.
func (d Departed) String() string {
	switch d {
	case DepartedUnset:
		return ""
	case Redistribute:
		return "redistribute"
	case CountLost:
		return "count"
	}
	return fmt.Sprintf("departed %d", uint8(d))
}

// Settings are what a listener asks for when it joins a group.
type Settings struct {
	Group      uint16 // the number that users give
	Mode       Mode
	Member     string             // for the order of members; empty: the listener's name
	Weight     uint8              // share relative to other members, from 1 on
	Filter     *pcapfilter.Filter // nil: left out
	Tunnels    Tunnels
	HasTunnels bool  // the text has tunnels
	Threshold  uint8 // of mode Buddy, in percent of the stream; 0: left out
	Departed   Departed
}

// ParseSettings parses a text of lines key=value, at most MaxText bytes. The keys are
// group, which must be there, mode, member, weight, filter, tunnels, threshold and departed.
// An error names the key and what is possible.
func ParseSettings(text string) (Settings, error) {
	s := Settings{Weight: 1}
	if len(text) > MaxText {
		return s, fmt.Errorf("fan-out settings: %d bytes, at most %d are read", len(text), MaxText)
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok:
			return s, fmt.Errorf("fan-out settings: %q: write key=value", line)
		case seen[key]:
			return s, fmt.Errorf("fan-out settings: %s stands twice", key)
		}
		seen[key] = true
		if err := s.set(key, value); err != nil {
			return s, fmt.Errorf("fan-out settings: %w", err)
		}
	}
	switch {
	case !seen["group"]:
		return s, errors.New("fan-out settings: no group: write group=N, 0 to 65535")
	case s.Mode == Filter && s.Filter == nil:
		return s, errors.New("fan-out settings: mode filter: write filter=EXPRESSION, which frames this member gets")
	case s.Filter != nil && s.Mode != Filter && s.Mode != Unset:
		return s, fmt.Errorf("fan-out settings: filter with mode %s: write mode=filter", s.Mode)
	case s.Threshold != 0 && s.Mode != Buddy && s.Mode != Unset:
		return s, fmt.Errorf("fan-out settings: threshold with mode %s: write mode=buddy", s.Mode)
	}
	return s, nil
}

// set sets one key.
func (s *Settings) set(key, value string) (err error) {
	switch key {
	case "group":
		n, err := number(key, value, 0, maxGroup)
		s.Group = uint16(n)
		return err
	case "mode":
		s.Mode, err = ParseMode(value)
	case "member":
		s.Member, err = value, checkName(value)
	case "weight":
		n, err := number(key, value, 1, MaxWeight)
		s.Weight = uint8(n)
		return err
	case "threshold":
		n, err := number(key, value, 1, 100)
		s.Threshold = uint8(n)
		return err
	case "filter":
		if s.Filter, err = pcapfilter.Compile(value); err != nil {
			return fmt.Errorf("filter %q: %w", value, err)
		}
	case "tunnels":
		s.Tunnels, err = headers.ParseTunnels(value)
		s.HasTunnels = true
	case "departed":
		switch value {
		case Redistribute.String():
			s.Departed = Redistribute
		case CountLost.String():
			s.Departed = CountLost
		default:
			return fmt.Errorf("departed %q: choose redistribute or count", value)
		}
	default:
		return fmt.Errorf("key %q: choose one of group, mode, member, weight, filter, tunnels, threshold, departed", key)
	}
	return err
}

func number(key, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s %q: must be a number, %d to %d", key, value, least, most)
	}
	return n, nil
}

func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("member: no name. Leave the line out for the listener's name")
	case len(s) > MaxName:
		return fmt.Errorf("member: name of %d bytes, at most %d are kept", len(s), MaxName)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("member %q: must be printable UTF-8", s)
	}
	return nil
}

// String returns the text of which ParseSettings makes the same settings.
func (s Settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group=%d\n", s.Group)
	if s.Mode != Unset {
		fmt.Fprintf(&b, "mode=%s\n", s.Mode)
	}
	if s.Member != "" {
		fmt.Fprintf(&b, "member=%s\n", s.Member)
	}
	if s.Weight > 1 {
		fmt.Fprintf(&b, "weight=%d\n", s.Weight)
	}
	if s.Filter != nil {
		fmt.Fprintf(&b, "filter=%s\n", s.Filter)
	}
	if s.HasTunnels {
		fmt.Fprintf(&b, "tunnels=%s\n", s.Tunnels)
	}
	if s.Threshold != 0 {
		fmt.Fprintf(&b, "threshold=%d\n", s.Threshold)
	}
	if s.Departed != DepartedUnset {
		fmt.Fprintf(&b, "departed=%s\n", s.Departed)
	}
	return b.String()
}
