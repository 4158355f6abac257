package hugepage

import (
	"fmt"
	"os"
)

// String returns the name that ParsePages accepts.
func (s Size) String() string {
	switch {
	case s == Ordinary:
		return "ordinary"
	case s > 0 && s%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", s>>30)
	case s > 0 && s%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", s>>20)
	default:
		return fmt.Sprintf("%dB", int(s))
	}
}

// ParsePages returns the page size with the given name: "ordinary", "2MiB" or "1GiB".
func ParsePages(name string) (Size, error) {
	for _, s := range []Size{Ordinary, Size2M, Size1G} {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("page size %q: want ordinary, 2MiB or 1GiB", name)
}

// Bytes returns the size of a page in bytes, or an error if there is no such size.
// Ordinary pages have the machine's own page size, on arm64 also 16 or 64 KiB.
func (s Size) Bytes() (int, error) {
	switch s {
	case Ordinary:
		return os.Getpagesize(), nil
	case Size2M, Size1G:
		return int(s), nil
	default:
		return 0, fmt.Errorf("page size %s: want ordinary, 2MiB or 1GiB", s)
	}
}
