package pcapfilter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// machine is golang.org/x/net/bpf's interpreter with a filter's program.
func machine(t testing.TB, program []instruction) *bpf.VM {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(program))
	for i, in := range program {
		raw[i] = bpf.RawInstruction{Op: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	ins, all := bpf.Disassemble(raw)
	require.True(t, all)
	vm, err := bpf.NewVM(ins)
	require.NoError(t, err)
	return vm
}

// forms are the forms of a filter: the condition as parsed, the steps, and BPF
// programs with and without the optimizer.
type forms struct {
	*Filter
	parsed           *cond // nil matches all
	optimized, plain []instruction
	vm               *bpf.VM // of optimized; nil if BPF cannot express the filter
}

// compile returns the forms of an expression that compiles.
func compile(t testing.TB, expr string) (f forms, err error) {
	t.Helper()
	if f.Filter, err = Compile(expr); err != nil {
		return forms{}, err
	}
	f.parsed, err = parse(expr)
	require.NoError(t, err)
	if f.parsed.beyondBPF() {
		return f, nil
	}
	f.optimized, f.plain = bpfProgram(optimize(lower(f.parsed))), bpfProgram(lower(f.parsed))
	f.vm = machine(t, f.optimized)
	return f, nil
}

// beyondBPF reports whether a condition follows headers in a loop.
func (c *cond) beyondBPF() bool {
	if c == nil {
		return false
	}
	return c.x.beyondBPF() || c.y.beyondBPF() || c.op == test && (c.left.op == inChain || c.left.op == inside)
}

// same checks that all forms agree on a frame.
func (f forms) same(t testing.TB, frame testFrame) {
	t.Helper()
	got := f.Match(frame.data, frame.wire)
	holds, defined := f.parsed.outcome(frame)
	require.Equal(t, holds && defined, got, "%q: as parsed\n% x", f.Filter, frame.data)
	if f.vm == nil {
		return
	}
	require.Equal(t, run(f.optimized, frame.data, frame.wire), got, "%q: as a program\n% x", f.Filter, frame.data)
	require.Equal(t, run(f.plain, frame.data, frame.wire), got, "%q: not optimized\n% x", f.Filter, frame.data)
	if frame.wire == len(frame.data) {
		n, err := f.vm.Run(frame.data)
		require.NoError(t, err)
		require.Equal(t, n > 0, got, "%q: in x/net/bpf\n% x", f.Filter, frame.data)
	}
}

func TestAllFormsOfAFilterAgree(t *testing.T) {
	frames := sample(t, 40*stride)
	for i, e := range thinned(expressions()) {
		f, err := compile(t, e)
		if err != nil {
			continue
		}
		for j := i % 13; j < len(frames); j += 13 {
			f.same(t, testFrame{frames[j].data, len(frames[j].data)})
		}
	}
}

func TestEmptyExpressionMatchesAllFrames(t *testing.T) {
	for _, e := range []string{"", "  \n\t "} {
		f, err := compile(t, e)
		require.NoError(t, err)
		require.True(t, f.Match(nil, 0))
		require.True(t, f.Match(make([]byte, 60), 60))
		require.Equal(t, "", f.String())
		require.Equal(t, "anything", f.Needs().String())
		f.same(t, testFrame{})
	}
}

func TestErrorsSayWhereAndWhatToWrite(t *testing.T) {
	for expr, want := range map[string]string{
		"host example.com":                       "column 6: host example.com: names of hosts are not resolved: write the address",
		"tcp and gateway foo":                    "column 9: gateway needs host names",
		"tcp and 192.0.2.1":                      "column 9: a value without a qualifier: write host, net, port or proto before it",
		"192.0.2.1":                              "column 1: an address alone: write host 192.0.2.1",
		"tcp 80":                                 `column 5: "80" where "and", "or" or the end is expected: a value has host, net, port or proto before it`,
		"ip proto tcp":                           `as a name, write \tcp`,
		"net 10/8":                               "as in net 10.0/8",
		"net 10.0.0.1/8":                         "write 10.0.0.0",
		"host 2001:db8::1/64":                    "write 2001:db8::/64",
		"udp port ssh":                           "port ssh is of another protocol: write its number",
		"port nosuch":                            "port nosuch is not known: write its number",
		"ip[0:3] = 1":                            "a number has 1, 2 or 4",
		"tcp[13] & 2":                            "column 12: the end where a comparison",
		"ip and arp":                             matchesNone,
		"vlan 4096":                              "up to 4095",
		"wlan type mgt":                          "802.11",
		"inbound":                                "live capture",
		"src or dst and dst port 53":             `column 12: "and" where the value of src or dst is expected: write one behind it, as in src or dst host 192.0.2.1, src port 53`,
		"tcp and src or dst":                     "column 19: the end where the value of src or dst is expected",
		"ip src and tcp":                         `column 8: "and" where the value of src is expected`,
		"geneve or tcp":                          "column 1: geneve moves all that stands to its right, and there it may not hold: join that with \"and\", put the rest before geneve",
		"udp and not vxlan 5 and tcp":            "column 13: vxlan moves",
		"vxlan and vxlan and vxlan":              "column 21: vxlan behind 2 tunnels: write inner (...)",
		"vxlan 16777216":                         "networks have 24 bits",
		"geneve and protochain 6":                "column 23: protochain behind geneve: write inner (protochain 6)",
		"tcp protochain 6":                       "write ip, ip6 or nothing before protochain",
		"src protochain 6":                       "column 5",
		"inner tcp":                              `column 7: "tcp" where ( behind inner, as in inner (tcp port 80) is expected`,
		"inner":                                  "column 6: the end where ( behind inner",
		"udp and inner (tcp":                     `column 19: the end where ")" is expected`,
		"inner (tcp or inner (udp))":             "column 15: inner inside inner: the outer one looks at every depth",
		"inner (port 80) or 443":                 "column 20: a value without a qualifier",
		"inner (ip and arp)":                     matchesNone,
		"inner ()":                               "column 8",
		"inner (vxlan or tcp)":                   "column 8: vxlan moves",
		"protochain 256":                         "numbers of protocols go up to 255",
		"decnet host 64.1":                       "areas go up to 63",
		"decnet net 10.1/16":                     "DECnet has no networks",
		"tcp port 80 and €":                      "column 17",
		strings.Repeat("(", 5000):                "1000 levels",
		strings.Repeat("!", 5000):                "1000 levels",
		"len=" + strings.Repeat("-", 5000) + "1": "1000 operators",
		strings.Repeat(" ", MaxExpression+1):     "1048577 bytes",
	} {
		_, err := Compile(expr)
		require.ErrorContains(t, err, want, "%.40s", expr)
	}
}

func TestLongExpressionsCompileAndMatch(t *testing.T) {
	var hosts, nots, sums, values []string
	count := 1000 / thin
	for i := range count {
		hosts = append(hosts, fmt.Sprintf("10.%d.%d.7", i/250, i%250))
		nots = append(nots, fmt.Sprintf("not port %d", 10000+i))
		sums = append(sums, "ip[8]")
		values = append(values, fmt.Sprintf("ether[%d] = 77", 14+i))
	}
	last := ethernet(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, uint32(10<<24|(count-1)/250<<16|(count-1)%250<<8|7), host1).tcp(10000, 80, 2)
	for expr, want := range map[string]bool{
		"host " + strings.Join(hosts, " or "):                      true,
		strings.Join(nots, " and "):                                false,
		strings.Join(nots[1:], " and "):                            true,
		strings.Join(sums, " + ") + fmt.Sprintf(" = %d", 64*count): true, // its TTL is 64
		strings.Join(values, " or "):                               false,
		"tcp and not (" + strings.Join(values, " or ") + ")":       false, // reads beyond the frame
	} {
		f, err := compile(t, expr)
		require.NoError(t, err, "%.40s", expr)
		require.Equal(t, want, f.Match(last, len(last)), "%.40s", expr)
		f.same(t, testFrame{last, len(last)})
		require.True(t, !want || f.Needs().May(look(last).term), "%.40s", expr)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	frames := sample(t, 1000)
	for _, p := range encapsulations() {
		frames = append(frames, testFrame{p, len(p)})
	}
	for i, e := range append(slices.Clone(own), thinned(corner)...) {
		f, err := Compile(e)
		if err != nil {
			continue
		}
		require.Zero(t, testing.AllocsPerRun(10, func() {
			for j := i % 17; j < len(frames); j += 17 {
				f.Match(frames[j].data, frames[j].wire)
			}
		}), e)
	}
}

func FuzzCompile(f *testing.F) {
	for _, list := range [][]string{corner, own, refused, stricter} {
		for _, e := range list {
			f.Add(e)
		}
	}
	frames := thinned(cuts())
	f.Fuzz(func(t *testing.T, expr string) {
		a, err := Compile(expr)
		if err != nil {
			var what *Error
			require.ErrorAs(t, err, &what)
			require.True(t, what.Byte >= 0 && what.Byte <= len(expr))
			return
		}
		b, err := Compile(a.String())
		require.NoError(t, err)
		for i := len(expr) % 61; i < len(frames); i += 61 {
			require.Equal(t, a.Match(frames[i].data, frames[i].wire), b.Match(frames[i].data, frames[i].wire))
		}
	})
}

func FuzzMatch(f *testing.F) {
	odd := append(tunnelled(), oddFrames()...)
	for i, e := range append(slices.Clone(own), corner...) {
		p := odd[i%len(odd)]
		f.Add(e, []byte(p[:min(len(p), 200)]), uint16(len(p)))
	}
	f.Fuzz(func(t *testing.T, expr string, data []byte, wire uint16) {
		filter, err := compile(t, expr)
		if err != nil {
			return
		}
		filter.same(t, testFrame{data, int(wire)})
		filter.same(t, testFrame{data, len(data)})
		if filter.Match(data, int(wire)) {
			require.True(t, filter.Needs().May(look(data).term), "%q needs %s", expr, filter.Needs())
		}
	})
}
