package pcapfilter

import (
	"fmt"
	"strings"
)

// MaxExpression is how long an expression can be, in bytes.
const MaxExpression = 1 << 20

const matchesNone = "no frame can match this expression"

// Error says why an expression does not compile, and where.
type Error struct {
	Byte    int // of the expression, from 0
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("pcapfilter: column %d: %s", e.Byte+1, e.Message)
}

// Filter is a compiled expression. It is immutable and safe for concurrent use.
type Filter struct {
	program
	expr  string
	root  *cond // as parsed; nil is met by all frames
	needs Needs
}

// Compile translates an expression of the pcap-filter language for Ethernet
// frames. An empty expression matches every frame. An error has the type *Error:
// the expression is not in the language, is not supported, or matches no frame.
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
	f := &Filter{program: assemble(graph, accept, reject), expr: strings.TrimSpace(expr), root: root, needs: needs(root, true, 0)}
	if f.depth > maxStack {
		return nil, &Error{0, "more intermediate results at a time than are kept: compute in smaller steps"}
	}
	return f, nil
}

// String returns the expression.
func (f *Filter) String() string { return f.expr }
