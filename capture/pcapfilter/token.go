package pcapfilter

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// kind of a token. The text distinguishes signs and keywords.
type kind uint8

const (
	atEnd     kind = iota
	sign           // + - * / % & | ^ << >> < > = <= >= != ( ) [ ] : ! and or
	keyword        // text is the canonical word
	number         // value
	name           // a word that is no keyword, or \word
	ipv4           // 2 to 4 numbers with dots
	ipv6           //
	mac            //
	malformed      // has the form of an address, but is none
)

// token is a piece of an expression.
type token struct {
	kind  kind
	text  string // signs: the canonical one; names: without the backslash
	value uint32
	at    int // byte of the expression
	end   int // byte behind it
}

// String is the token as it stands in messages.
func (t token) String() string {
	if t.kind == atEnd {
		return "the end"
	}
	return strconv.Quote(t.text)
}

// rule of the scanner. The longest match is used; of equal ones the first.
type rule struct {
	kind    kind
	pattern *regexp.Regexp
}

// rules are compiled on first use: a process without filters does not need them.
var rules = sync.OnceValue(func() []rule {
	const (
		n  = `([0-9]+|0[xX][0-9A-Fa-f]+)`
		b  = `[0-9A-Fa-f]{1,2}`
		b2 = `[0-9A-Fa-f]{4}`
	)
	var out []rule
	add := func(k kind, pattern string) {
		re := regexp.MustCompile(`^(?:` + pattern + `)`)
		re.Longest()
		out = append(out, rule{k, re})
	}
	add(mac, b+`(:`+b+`){5}|`+b+`(-`+b+`){5}|`+b+`(\.`+b+`){5}|`+b2+`\.`+b2+`\.`+b2+`|[0-9A-Fa-f]{12}`)
	add(number, n)
	add(ipv4, n+`\.`+n+`(\.`+n+`){0,2}`)
	add(ipv6, ipv6Pattern(n))
	add(malformed, b+`:+(`+b+`:+)+`)
	add(name, `[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?`)
	return out
})

// ipv6Pattern is the shape of an IPv6 address: eight groups, or fewer with :: in
// one place; the last two may be a dotted IPv4 address. n is a number's pattern.
func ipv6Pattern(n string) string {
	groups := func(count int) string {
		return strings.TrimSuffix(strings.Repeat(`[0-9A-Fa-f]{1,4}:`, count), ":")
	}
	dotted := n + `\.` + n + `\.` + n + `\.` + n
	out := []string{groups(8), groups(6) + ":" + dotted}
	for before := 0; before <= 7; before++ {
		for after := 0; before+after <= 7; after++ {
			out = append(out, groups(before)+"::"+groups(after))
		}
		for after := 0; before+after <= 5; after++ {
			tail := dotted
			if after > 0 {
				tail = groups(after) + ":" + dotted
			}
			out = append(out, groups(before)+"::"+tail)
		}
	}
	return strings.Join(out, "|")
}

// scan cuts an expression into tokens; the last is the end.
func scan(text string) ([]token, error) {
	var out []token
	wordEnd := 0
	for i := 0; i < len(text); {
		if strings.IndexByte(" \t\r\n", text[i]) >= 0 {
			i++
			continue
		}
		if i >= wordEnd { // computed once a word, not once a token: :::: is many tokens
			wordEnd = i + wordLength(text[i:])
		}
		t, err := longest(text, i, text[i:wordEnd])
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		i = t.end
	}
	return append(out, token{kind: atEnd, at: len(text), end: len(text)}), nil
}

// longest returns the token at byte i, where word begins.
func longest(text string, i int, word string) (token, error) {
	t := token{at: i, end: i}
	switch {
	case plainWord(word) != atEnd:
		t.kind, t.end = plainWord(word), i+len(word)
	case word != "":
		for _, r := range rules() {
			if m := r.pattern.FindStringIndex(word); m != nil && i+m[1] > t.end {
				t.kind, t.end = r.kind, i+m[1]
			}
		}
	case text[i] == '\\':
		t.end = len(text)
		if n := strings.IndexAny(text[i:], " !()\n\t"); n >= 0 {
			t.end = i + n
		}
		if t.end > i+1 {
			t.kind = name
		}
	}
	if t.kind == atEnd {
		if n := signLength(text[i:]); n > 0 {
			t.kind, t.end = sign, i+n
		}
	}
	t.text = text[i:t.end]
	switch t.kind {
	case atEnd:
		r, _ := utf8.DecodeRuneInString(text[i:])
		return t, &Error{i, fmt.Sprintf("unexpected %q: write words, numbers, addresses and + - * / %% & | ^ ! = < > ( ) [ ] : only", r)}
	case sign:
		switch t.text {
		case "&&":
			t.text = "and"
		case "||":
			t.text = "or"
		case "==":
			t.text = "="
		}
	case number:
		v, err := strconv.ParseUint(t.text, 0, 32)
		if err != nil {
			return t, &Error{i, fmt.Sprintf("number %s: want 0 to 4294967295, in decimal, octal with a leading 0, or hexadecimal with 0x", t.text)}
		}
		t.value = uint32(v)
	case name:
		if t.text[0] == '\\' {
			t.text = t.text[1:]
			return t, nil
		}
		if v, ok := constants[t.text]; ok {
			t.kind, t.value = number, v
			return t, nil
		}
		switch w := keywords[t.text]; w {
		case "":
		case "and", "or", "!":
			t.kind, t.text = sign, w
		default:
			t.kind, t.text = keyword, w
		}
	}
	return t, nil
}

// plainWord is the kind of a word of decimal digits, a dotted quad of them, or a word of
// letters that are not all hexadecimal: the rule that matches most of it is known
// without trying any. It is atEnd for other words.
func plainWord(word string) kind {
	digits, dots, letters := 0, 0, false
	for i := range len(word) {
		switch c := word[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' && i > 0 && i < len(word)-1 && word[i-1] != '.':
			dots++
		case c >= 'g' && c <= 'z':
			letters = true
		case c >= 'a' && c <= 'f':
		default:
			return atEnd
		}
	}
	switch {
	case digits == 0 && dots == 0 && letters:
		return name
	case digits == len(word) && len(word) > 0 && len(word) != 12: // which can be an Ethernet address
		return number
	case digits+dots == len(word) && dots == 3:
		return ipv4
	}
	return atEnd
}

// wordLength is how many bytes at the start of a text can be part of a number, a
// name or an address.
func wordLength(text string) int {
	n := strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:-", r)
	})
	if n < 0 {
		return len(text)
	}
	return n
}

// signLength is how many bytes the sign has that a text begins with, or 0.
func signLength(text string) int {
	if len(text) > 1 {
		switch text[:2] {
		case "&&", "||", ">=", "<=", "!=", "==", "<<", ">>":
			return 2
		}
	}
	if strings.IndexByte("+-*/%:[]!<>()&|^=", text[0]) >= 0 {
		return 1
	}
	return 0
}
