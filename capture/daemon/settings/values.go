package settings

import (
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/hugepage"
)

// Pages is a page size; its zero value leaves the choice open.
type Pages struct{ Size hugepage.Size }

func (p *Pages) String() string {
	switch p.Size {
	case hugepage.Ordinary:
		return "ordinary"
	case hugepage.Size2M:
		return "2MiB"
	case hugepage.Size1G:
		return "1GiB"
	}
	return ""
}

// Set implements flag.Value.
func (p *Pages) Set(text string) error {
	for _, size := range []hugepage.Size{hugepage.Ordinary, hugepage.Size2M, hugepage.Size1G} {
		if q := (Pages{size}); q.String() == text {
			*p = q
			return nil
		}
	}
	return fmt.Errorf("pages %q: want 2MiB, 1GiB or ordinary", text)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pages) UnmarshalText(text []byte) error { return p.Set(string(text)) }

// Cores is a list of processor cores: "2,3".
type Cores []int

func (c *Cores) String() string {
	words := make([]string, len(*c))
	for i, n := range *c {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// Set implements flag.Value.
func (c *Cores) Set(text string) error {
	var cores Cores
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 {
			return fmt.Errorf("core %q: want numbers from 0, such as 2,3 (this machine has %d)", word, runtime.NumCPU())
		}
		cores = append(cores, n)
	}
	*c = cores
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cores) UnmarshalText(text []byte) error { return c.Set(string(text)) }

// FileMode is who may use a file or socket, in octal digits: "0660".
type FileMode fs.FileMode

func (m *FileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Set implements flag.Value.
func (m *FileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("mode %q: want a mode in octal digits, such as 0660", text)
	}
	*m = FileMode(n)
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *FileMode) UnmarshalText(text []byte) error { return m.Set(string(text)) }
