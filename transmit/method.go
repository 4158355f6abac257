package transmit

import "fmt"

// Method is how frames get their distances.
type Method uint8

const (
	LineRate Method = iota // none: back to back
	Software               // each is posted when it is due
	Limiter                // by the rate limiter of the queue
	Filler                 // by frames with a wrong CRC between them
)

var methodNames = [...]string{"line", "software", "limiter", "filler"}

func (m Method) String() string { return methodNames[m] }

// Set parses a method other than LineRate. It implements pflag.Value.
func (m *Method) Set(text string) error {
	for i, name := range methodNames {
		if text == name && i > 0 {
			*m = Method(i)
			return nil
		}
	}
	return fmt.Errorf("%q: want software, limiter or filler", text)
}

// Type implements pflag.Value.
func (*Method) Type() string { return "METHOD" }
