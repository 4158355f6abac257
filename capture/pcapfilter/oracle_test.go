package pcapfilter

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// oracle is libpcap's program of an expression: with its optimizer, as tcpdump runs
// it, and without.
type oracle struct {
	program, plain []instruction
	err, plainErr  string // libpcap's, where there is no program
}

// needTcpdump skips where there is no tcpdump, whose libpcap is the reference.
func needTcpdump(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("no tcpdump, whose libpcap is what filters are compared with: make tools installs it")
	}
	return path
}

// ask compiles expressions with libpcap, a few at a time.
func ask(t testing.TB, exprs []string) []oracle {
	t.Helper()
	tcpdump := needTcpdump(t)
	out := make([]oracle, len(exprs))
	errs := make([]error, len(exprs))
	var wait sync.WaitGroup
	gate := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, e := range exprs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			gate <- struct{}{}
			defer func() { <-gate }()
			o := &out[i]
			if o.program, o.err, errs[i] = dump(tcpdump, "-ddd", e); errs[i] == nil {
				o.plain, o.plainErr, errs[i] = dump(tcpdump, "-Oddd", e)
			}
		}()
	}
	wait.Wait()
	for i, err := range errs {
		require.NoError(t, err, exprs[i])
	}
	return out
}

// dump runs tcpdump for a program in numbers: the count of instructions, then one
// a line.
func dump(tcpdump, how, expr string) (program []instruction, message string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(tcpdump, "-y", "EN10MB", how, "--", expr)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if cmd.Run() != nil {
		message = strings.TrimSpace(stderr.String())
		if message == "" {
			return nil, "", fmt.Errorf("tcpdump says nothing and fails")
		}
		return nil, message, nil
	}
	var n int
	if _, err := fmt.Fscan(&stdout, &n); err != nil {
		return nil, "", err
	}
	program = make([]instruction, n)
	for i := range program {
		p := &program[i]
		if _, err := fmt.Fscan(&stdout, &p.Op, &p.Jt, &p.Jf, &p.K); err != nil {
			return nil, "", err
		}
	}
	return program, "", nil
}

// aluOps are the operations by the upper half of their code.
var aluOps = func() (out [16]valueOp) {
	for op, code := range bpfOp {
		out[code>>4] = op
	}
	return out
}()

// run is a plain interpreter of classic BPF as libpcap's is (bpf_filter.c): it
// reports whether the program keeps the frame.
func run(program []instruction, data []byte, wire int) bool {
	var (
		a, x uint32
		mem  [16]uint32
	)
	at := func(off uint64, size uint64) (uint32, bool) {
		if off+size > uint64(len(data)) {
			return 0, false
		}
		n := uint32(0)
		for _, b := range data[off : off+size] {
			n = n<<8 | uint32(b)
		}
		return n, true
	}
	for pc := 0; ; pc++ {
		in := program[pc]
		operand := in.K
		if in.Op&bpfX != 0 {
			operand = x
		}
		ok := true
		switch in.Op & 7 {
		case 0, 1: // LD, LDX
			var v uint32
			switch in.Op & 0xe0 {
			case 0x00:
				v = in.K
			case 0x20:
				v, ok = at(uint64(in.K), uint64(4)>>(in.Op>>3&3))
			case 0x40:
				v, ok = at(uint64(in.K)+uint64(x), uint64(4)>>(in.Op>>3&3))
			case 0x60:
				v = mem[in.K]
			case 0x80:
				v = uint32(wire)
			case 0xa0:
				v, ok = at(uint64(in.K), 1)
				v = v & 0xf << 2
			}
			if in.Op&7 == 0 {
				a = v
			} else {
				x = v
			}
		case 2:
			mem[in.K] = a
		case 3:
			mem[in.K] = x
		case 4:
			if in.Op&0xf0 == 0x80 {
				a = -a
				break
			}
			op := aluOps[in.Op>>4&0xf]
			if operand == 0 && (op == div || op == mod) {
				return false
			}
			a = arithmetic(op, a, operand)
		case 5:
			var yes bool
			switch in.Op & 0xf0 {
			case 0x00:
				pc += int(int32(in.K)) // back, too: protochain is a loop
				continue
			case 0x10:
				yes = a == operand
			case 0x20:
				yes = a > operand
			case 0x30:
				yes = a >= operand
			case 0x40:
				yes = a&operand != 0
			}
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case 6:
			return in.K != 0
		case 7:
			if in.Op == bpfTxa {
				a = x
			} else {
				x = a
			}
		}
		if !ok {
			return false
		}
	}
}

// outcome evaluates a condition as it was parsed. ok is false if a load or a division
// fails.
func (c *cond) outcome(f testFrame) (holds, ok bool) {
	if c == nil {
		return true, true
	}
	switch c.op {
	case only:
		return c.x.outcome(f)
	case negated:
		holds, ok = c.x.outcome(f)
		return !holds, ok
	case both, either:
		holds, ok = c.x.outcome(f)
		if !ok || holds == (c.op == either) {
			return holds, ok
		}
		return c.y.outcome(f)
	}
	x, ok := c.left.number(f)
	if !ok {
		return false, false
	}
	y, ok := c.right.number(f)
	return c.cmp.holds(x, y), ok
}

func (v *value) number(f testFrame) (uint32, bool) {
	var x, y uint32
	ok := true
	if v.x != nil {
		x, ok = v.x.number(f)
	}
	if ok && v.y != nil {
		y, ok = v.y.number(f)
	}
	if !ok {
		return 0, false
	}
	switch v.op {
	case konst:
		return v.k, true
	case wireLen:
		return uint32(f.wire), true
	case inside:
		return v.inner.outcome(f), true
	case inChain:
		return chain(f.data, int(v.off), int(v.size), byte(v.k))
	case headerLen:
		at := int64(v.off) + int64(x)
		if at >= int64(len(f.data)) {
			return 0, false
		}
		return uint32(f.data[at]&15) * 4, true
	case load:
		at := int64(v.off) + int64(x)
		if at+int64(v.size) > int64(len(f.data)) {
			return 0, false
		}
		n := uint32(0)
		for i := range int64(v.size) {
			n = n*256 + uint32(f.data[at+i])
		}
		return n, true
	}
	if y == 0 && (v.op == div || v.op == mod) {
		return 0, false
	}
	return arithmetic(v.op, x, y), true
}

// outcome is inside's value, by the conditions as they were parsed.
func (in *inner) outcome(f testFrame) uint32 {
	var w walker
	w.walk(f.data)
	for _, v := range w.found[:w.count] {
		at := int(v.at)
		if holds, ok := in.conds[v.kind].outcome(testFrame{f.data[at:], max(f.wire-at, 0)}); holds && ok {
			return 1
		}
	}
	return 0
}

// forgetful makes chain as wrong as libpcap's protochain, which goes on from the start
// of the packet behind an authentication header.
var forgetful bool

// chain is inChain's value, by a table of how long headers are.
func chain(d []byte, ip, version int, proto byte) (uint32, bool) {
	type size struct{ unit, extra int }
	sizes := map[byte]size{51: {4, 2}}
	at, next := 0, ip+9
	if version == 6 {
		sizes[0], sizes[43], sizes[44], sizes[60] = size{8, 1}, size{8, 1}, size{8, 1}, size{8, 1}
		at, next = ip+40, ip+6
	}
	if next >= len(d) {
		return 0, false
	}
	if version == 4 {
		at = ip + int(d[ip]%16)*4
	}
	for n := 0; n < 64; n++ {
		if d[next] == proto {
			return 1, true
		}
		s, more := sizes[d[next]]
		if !more {
			return 0, true
		}
		if at+1 >= len(d) {
			return 0, false
		}
		from := at
		if forgetful && d[next] == 51 {
			from = ip
		}
		next, at = at, from+(int(d[at+1])+s.extra)*s.unit
	}
	return 0, true
}

// tally counts comparisons and their results.
type tally struct {
	compared, matched int
	short             int // libpcap's optimizer matched a frame that ends before a field
}

// agree compares a filter with libpcap's programs over frames.
//
// libpcap's optimizer removes loads whose result does not matter and moves others
// behind tests, as if loads could not fail. For frames that end before such a field
// its programs differ from those without the optimizer; ours agree with the latter.
func agree(t testing.TB, expr string, f *Filter, o oracle, frames []testFrame) (n tally) {
	t.Helper()
	for i, frame := range frames {
		got := f.Match(frame.data, frame.wire)
		if got {
			n.matched++
		}
		n.compared++
		want := o.program != nil && run(o.program, frame.data, frame.wire)
		if got == want {
			continue
		}
		parsed, err := parse(expr)
		require.NoError(t, err)
		_, defined := parsed.outcome(frame)
		if strings.Contains(expr, "protochain") {
			forgetful = true
			holds, ok := parsed.outcome(frame)
			forgetful = false
			if (holds && ok) == want {
				continue
			}
		}
		plain := o.plain != nil && run(o.plain, frame.data, frame.wire)
		if defined || got != plain {
			t.Fatalf("%q: frame %d (%d of %d bytes): %v, libpcap %v, without its optimizer %v, short frame %v\n% x",
				expr, i, len(frame.data), frame.wire, got, want, plain, !defined, frame.data[:min(len(frame.data), 128)])
		}
		n.short++
	}
	return n
}

func (n *tally) add(m tally) {
	n.compared += m.compared
	n.matched += m.matched
	n.short += m.short
}
