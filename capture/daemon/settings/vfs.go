package settings

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
)

// VFs are the virtual functions that a port offers: their number, or what each is granted,
// with a comma between two. The words are those of ip-link(8):
//
//	2
//	default, mac=02:00:00:00:01:01 trust=on, vlan=7 spoofchk=off
type VFs []driver.VF

// defaultVF is a function that is granted nothing.
const defaultVF = "default"

// String implements flag.Value.
func (f *VFs) String() string {
	if len(*f) == 0 {
		return none
	}
	var all []string
	for _, v := range *f {
		var words []string
		add := func(set bool, word string) {
			if set {
				words = append(words, word)
			}
		}
		add(v.MAC != nil, "mac="+v.MAC.String())
		add(v.VLAN != 0, fmt.Sprintf("vlan=%d", v.VLAN))
		add(v.Trusted, "trust=on")
		add(v.MaySpoof, "spoofchk=off")
		add(v.ShareRSS, "query_rss=on")
		add(v.Disabled, "state=disable")
		add(len(words) == 0, defaultVF)
		all = append(all, strings.Join(words, " "))
	}
	return strings.Join(all, ", ")
}

// Set implements flag.Value.
func (f *VFs) Set(text string) error {
	if text == none {
		*f = nil
		return nil
	}
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > driver.MaxVFs {
			return fmt.Errorf("%d virtual functions: must be 1 to %d, or none", n, driver.MaxVFs)
		}
		*f = make(VFs, n)
		return nil
	}
	var all VFs
	for one := range strings.SplitSeq(text, ",") {
		v, err := parseVF(strings.Fields(one))
		if err != nil {
			return fmt.Errorf("virtual function %d: %w", len(all), err)
		}
		all = append(all, v)
	}
	*f = all
	return nil
}

// Type implements pflag.Value.
func (*VFs) Type() string { return "FUNCTIONS" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *VFs) UnmarshalText(text []byte) error { return f.Set(string(text)) }

func parseVF(words []string) (v driver.VF, err error) {
	if len(words) == 0 {
		return v, fmt.Errorf("empty: write %s for one that is granted nothing", defaultVF)
	}
	if slices.Equal(words, []string{defaultVF}) {
		return v, nil
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		is := func(yes, no string) (on bool) {
			if value != yes && value != no {
				err = fmt.Errorf("%s: must be %s=%s or %s=%s", word, key, yes, key, no)
			}
			return value == yes
		}
		switch key {
		case "mac":
			if v.MAC, err = net.ParseMAC(value); err != nil {
				err = fmt.Errorf("%s: must be an address such as mac=02:00:00:00:01:01", word)
			}
		case "vlan":
			v.VLAN, err = parseVLAN(value)
		case "trust":
			v.Trusted = is("on", "off")
		case "spoofchk":
			v.MaySpoof = is("off", "on")
		case "query_rss":
			v.ShareRSS = is("on", "off")
		case "state":
			v.Disabled = is("disable", "enable")
		default:
			err = fmt.Errorf("%q: must be mac, vlan, trust, spoofchk, query_rss or state with a value, or %s", word, defaultVF)
		}
		if err != nil {
			return v, err
		}
	}
	return v, nil
}

func parseVLAN(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("VLAN %q: must be a number", text)
	}
	return uint16(n), nil
}

// Mirrors are the mirror rules of a port with virtual functions, with a comma between two:
// what is copied, and to which function.
//
//	to=2 functions=0+1 downlink, to=port vlans=7
type Mirrors []driver.MirrorRule

const toPort = "port"

// String implements flag.Value.
func (m *Mirrors) String() string {
	if len(*m) == 0 {
		return none
	}
	var all []string
	for _, r := range *m {
		to := toPort
		if r.To != driver.ToPort {
			to = strconv.Itoa(r.To)
		}
		words := []string{"to=" + to}
		if len(r.Functions) > 0 {
			words = append(words, "functions="+plus(r.Functions))
		}
		if r.Uplink {
			words = append(words, "uplink")
		}
		if r.Downlink {
			words = append(words, "downlink")
		}
		if len(r.VLANs) > 0 {
			words = append(words, "vlans="+plus(r.VLANs))
		}
		all = append(all, strings.Join(words, " "))
	}
	return strings.Join(all, ", ")
}

func plus[T any](all []T) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(all), "[]")), "+")
}

// Set implements flag.Value.
func (m *Mirrors) Set(text string) error {
	if text == none {
		*m = nil
		return nil
	}
	var all Mirrors
	for one := range strings.SplitSeq(text, ",") {
		r, err := parseMirror(strings.Fields(one))
		if err != nil {
			return fmt.Errorf("mirror rule %d: %w", len(all), err)
		}
		all = append(all, r)
	}
	*m = all
	return nil
}

// Type implements pflag.Value.
func (*Mirrors) Type() string { return "RULES" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mirrors) UnmarshalText(text []byte) error { return m.Set(string(text)) }

func parseMirror(words []string) (r driver.MirrorRule, err error) {
	target, selects := false, false
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "to="+toPort:
			r.To, target = driver.ToPort, true
		case key == "to":
			r.To, err = parseFunction(value)
			target = true
		case key == "functions":
			for f := range strings.SplitSeq(value, "+") {
				var n int
				if n, err = parseFunction(f); err != nil {
					break
				}
				r.Functions = append(r.Functions, n)
			}
		case key == "vlans":
			for text := range strings.SplitSeq(value, "+") {
				var n uint16
				if n, err = parseVLAN(text); err != nil {
					break
				}
				r.VLANs = append(r.VLANs, n)
			}
		case word == "uplink":
			r.Uplink = true
		case word == "downlink":
			r.Downlink = true
		default:
			err = fmt.Errorf("%q: must be to=N, to=port, functions=N+N, uplink, downlink or vlans=N+N", word)
		}
		if err != nil {
			return r, err
		}
		selects = selects || key != "to"
	}
	if !target || !selects {
		return r, errors.New("must say what is copied and where, such as to=2 functions=0+1 uplink")
	}
	return r, nil
}

// parseFunction parses the number of a virtual function.
func parseFunction(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("virtual function %q: must be a number", text)
	}
	return int(n), nil
}

// checkFunctions checks the virtual functions of a port and its mirror rules.
func (p *Port) checkFunctions(bad func(own, format string, args ...any)) {
	if err := (driver.Config{Queues: p.Queues, VFs: p.VFs, KeepCRC: p.KeepsCRC()}).CheckVFs(); err != nil {
		bad("vfs", "%v", err)
	}
	if len(p.VFs) > 0 && p.Filters.Any() {
		bad("port_filters", "the chip has none on a port with virtual functions: use rules")
	}
	if len(p.Mirrors) > 0 && len(p.VFs) == 0 {
		bad("mirror", "the port has no virtual functions: set vfs")
		return
	}
	if n := len(p.Mirrors); n > driver.MirrorRules {
		bad("mirror", "%s: the chip has %d", units.Plural(uint64(n), "rule"), driver.MirrorRules)
	}
	for i, r := range p.Mirrors {
		if err := r.Check(len(p.VFs)); err != nil {
			bad("mirror", "rule %d: %v", i, err)
		}
	}
}
