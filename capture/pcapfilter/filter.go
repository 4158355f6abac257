package pcapfilter

import (
	"fmt"
	"strings"
)

// MaxExpression is how long an expression can be, in bytes.
const MaxExpression = 1 << 20

const matchesNone = "no frame can match this expression"

// Error is why an expression is not compiled, and where.
type Error struct {
	Byte    int // of the expression, from 0
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("pcapfilter: column %d: %s", e.Byte+1, e.Message)
}

// Filter is a compiled expression. It is immutable; any number of goroutines may
// use it at a time.
type Filter struct {
	program
	expr  string
	needs Needs
}

// Compile translates an expression of the pcap-filter language for Ethernet
// frames. An empty one matches every frame. What the language or this package
// does not have is an error of type *Error, and so is an expression that no frame
// can match.
func Compile(expr string) (*Filter, error) {
	if len(expr) > MaxExpression {
		return nil, &Error{MaxExpression, fmt.Sprintf("the expression has %d bytes; at most %d are compiled", len(expr), MaxExpression)}
	}
	root, err := parse(expr)
	if err != nil {
		return nil, err
	}
	graph := optimize(lower(root))
	if graph == reject {
		return nil, &Error{0, matchesNone}
	}
	return &Filter{program: assemble(graph, accept, reject), expr: strings.TrimSpace(expr), needs: needs(root, true, 0)}, nil
}

// String returns the expression.
func (f *Filter) String() string { return f.expr }
