package pcapfilter

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// rejectsAll is libpcap's word for an expression that no frame can match.
const rejectsAll = "expression rejects all packets"

// sample is every n-th frame of the captures and the odd ones, fewer under the race
// detector.
func sample(t testing.TB, n int) []testFrame {
	out := thinned(cuts())
	for _, file := range captures(t) {
		for i, f := range readPcap(t, file) {
			if i%n == 0 {
				out = append(out, f)
			}
		}
	}
	return out
}

func thinned[T any](all []T) []T { return every(thin, 0, all) }

// every is one of n, from the first-th on.
func every[T any](n, first int, all []T) []T {
	var out []T
	for i := first; i < len(all); i += n {
		out = append(out, all[i])
	}
	return out
}

// listed are the expressions of the list with libpcap's programs, made once. Names
// that this host's services(5) does not have are left out.
var listed struct {
	sync.Once
	exprs   []string
	oracles []oracle
}

func list(t *testing.T) ([]string, []oracle) {
	needTcpdump(t)
	listed.Do(func() {
		exprs := thinned(expressions())
		for i, o := range ask(t, exprs) {
			if strings.Contains(o.err, "unknown port") || strings.Contains(o.err, "unknown ip proto") {
				t.Logf("%s: not in services(5) or protocols(5) here, not compared", exprs[i])
				continue
			}
			listed.exprs = append(listed.exprs, exprs[i])
			listed.oracles = append(listed.oracles, o)
		}
	})
	return listed.exprs, listed.oracles
}

func TestAgreesWithLibpcapOnEveryExpressionAndFrame(t *testing.T) {
	exprs, oracles := list(t)
	all := append(sample(t, stride), author{rand.New(rand.NewPCG(7, 7))}.frames(3000/thin)...)
	var shares [3][]testFrame // each for every third expression
	for i := range shares {
		shares[i] = every(len(shares), i, all)
	}
	var n tally
	for i, e := range exprs {
		o, frames := oracles[i], shares[i%len(shares)]
		require.True(t, o.err == "" || strings.Contains(o.err, rejectsAll), "%q: libpcap: %s", e, o.err)
		f, err := Compile(e)
		if err != nil {
			require.ErrorContains(t, err, matchesNone, e)
			require.False(t, matchesAny(o.program, frames), e)
			continue
		}
		m := agree(t, e, f, o, frames)
		require.True(t, o.err == "" || m.matched == 0, e)
		n.add(m)
	}
	t.Logf("%d expressions, %d comparisons, %d matches; %d of cut frames as libpcap has it without its optimizer", len(exprs), n.compared, n.matched, n.short)
	require.Greater(t, len(exprs), 900/thin)
	require.Greater(t, n.matched, 10000/thin)
	require.Less(t, n.short, n.compared/1000)
}

// A storer keeps whole frames or so many bytes of each; with those, what libpcap's
// optimizer does to loads that can fail must not show.
func TestAgreesWithLibpcapOnFramesCutAsStorersCutThem(t *testing.T) {
	exprs, oracles := list(t)
	var frames []testFrame
	for _, file := range captures(t) {
		for i, f := range readPcap(t, file) {
			if i%(3*stride) == 0 {
				for _, n := range []int{34, 54, 64, 68, 96, 128} {
					frames = append(frames, testFrame{f.data[:min(len(f.data), n)], f.wire})
				}
			}
		}
	}
	var n tally
	for i, e := range exprs {
		if f, err := Compile(e); err == nil {
			n.add(agree(t, e, f, oracles[i], frames))
		}
	}
	require.Zero(t, n.short)
	require.Greater(t, n.matched, 1000/thin)
}

// matchesAny reports whether a program keeps one of the frames; nil keeps none.
func matchesAny(program []instruction, frames []testFrame) bool {
	return program != nil && slices.ContainsFunc(frames, func(f testFrame) bool { return run(program, f.data, f.wire) })
}

func TestRefusesWhatLibpcapRefuses(t *testing.T) {
	for _, e := range refused {
		_, err := Compile(e)
		var what *Error
		require.True(t, errors.As(err, &what), e)
		require.LessOrEqual(t, what.Byte, len(e), e)
		require.NotContains(t, err.Error(), "\n", e)
	}
	for i, o := range ask(t, refused) {
		require.NotEmpty(t, o.err, refused[i])
	}
}

func TestRefusesWhatItDoesNotSupport(t *testing.T) {
	for _, e := range stricter {
		_, err := Compile(e)
		require.Error(t, err, e)
	}
	for i, o := range ask(t, stricter) {
		require.Empty(t, o.err, stricter[i])
	}
}

// What is computed is kept in BPF's scratch memory: libpcap's limit is on how many
// results there are at a time, and Match's stack relies on it.
func TestComputesAsManyIntermediateResultsAsLibpcap(t *testing.T) {
	var exprs []string
	for n := range 20 {
		closed := strings.Repeat(")", n)
		exprs = append(exprs,
			strings.Repeat("3 - (", n)+"ip[0]"+closed+" = 1",
			strings.Repeat("len - (", n)+"tcp[ip[0] - 64]"+closed+" = 1",
			strings.Repeat("ip[8] ^ (", n)+"80"+closed+" = 1",
			"tcp[0] = "+strings.Repeat("ip[8] + (", n)+"tcp[1]"+closed,
			strings.Repeat("tcp[", n)+"0"+strings.Repeat("]", n)+" + 1 = 81",
			strings.Repeat("- (", n)+"ip[8]"+closed+" = 64")
	}
	frames := thinned(cuts())
	refused := 0
	for i, o := range ask(t, exprs) {
		f, err := compile(t, exprs[i])
		if err != nil {
			require.NotEmpty(t, o.err, "%q: %s", exprs[i], err)
			refused++
			continue
		}
		require.Empty(t, o.err, exprs[i])
		for j := i % 7; j < len(frames); j += 7 {
			f.same(t, frames[j])
		}
	}
	require.Greater(t, refused, 10)
	require.Less(t, refused, len(exprs)-60)
}
