package cli

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
)

// Bar is a line of progress: one that is written over and over on a terminal,
// one after the other elsewhere.
type Bar struct {
	W        io.Writer
	Terminal bool
	shown    bool
}

// Print shows what happened in the last second.
func (b *Bar) Print(r capture.Rate) {
	line := fmt.Sprintf("%6.3f Gb/s  %6.3f Mpps  buffer %3.0f %%  lost %d (%.0f/s)", r.Gbps, r.Mpps, 100*r.Fill, r.Lost, r.LostPerSecond)
	if b.Terminal {
		fmt.Fprintf(b.W, "\r\x1b[K%s", line) // erase what is left of a longer line
	} else {
		fmt.Fprintln(b.W, line)
	}
	b.shown = true
}

// End leaves the line, if there is one, for what is printed next.
func (b *Bar) End() {
	if b.shown && b.Terminal {
		fmt.Fprintln(b.W)
	}
}

// IsTerminal tells whether somebody may be looking at f.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
