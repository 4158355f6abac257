package pcapfilter

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A word whose kind is known at once is what the rules make of it.
func TestPlainWordsAreWhatTheRulesMakeOfThem(t *testing.T) {
	a := author{rand.New(rand.NewPCG(81, 82))}
	known := map[kind]int{}
	for range 60000 / thin {
		word := make([]byte, 1+a.IntN(14))
		letters := a.one("0123456789", "0123456789.", "abcdefg", "abcdefghz", "0a.g-:_x", "01.")
		for i := range word {
			word[i] = letters[a.IntN(len(letters))]
		}
		k := plainWord(string(word))
		if k == atEnd {
			continue
		}
		known[k]++
		want, end := atEnd, 0
		for _, r := range rules() {
			if m := r.pattern.FindStringIndex(string(word)); m != nil && m[1] > end {
				want, end = r.kind, m[1]
			}
		}
		require.Equal(t, want, k, "%s", word)
		require.Len(t, word, end, "%s", word)
	}
	for _, k := range []kind{number, name, ipv4} {
		require.NotZero(t, known[k])
	}
}
