package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
//
//	4096           bytes
//	256M  256MiB   2^20 bytes; likewise K, KiB, G, GiB, T, TiB
//	256MB          10^6 bytes; likewise kB, KB, GB, TB
type Size int64

// Binary multiples.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// maxSize leaves room for sums of sizes.
const maxSize = 1 << 62

// suffixes are ordered so that no suffix hides a longer one.
var suffixes = []struct {
	name  string
	bytes Size
}{
	{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", TiB},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
	{"k", KiB}, {"K", KiB}, {"M", MiB}, {"G", GiB}, {"T", TiB},
}

// ParseSize parses a size of 0 bytes or more.
func ParseSize(s string) (Size, error) {
	number, unit := s, Size(1)
	for _, u := range suffixes {
		if n, found := strings.CutSuffix(s, u.name); found {
			number, unit = n, u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	bytes := v * float64(unit)
	if err != nil || math.IsNaN(v) || v < 0 || bytes > maxSize || bytes != math.Trunc(bytes) {
		return 0, fmt.Errorf("size %q: must be a number of bytes with or without a unit, such as 4096, 256MiB or 2G", s)
	}
	return Size(bytes), nil
}

// String prints the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if unit := suffixes[u]; s != 0 && s%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", s/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	v, err := ParseSize(text)
	if err == nil {
		*s = v
	}
	return err
}

// Type implements pflag.Value.
func (*Size) Type() string { return "SIZE" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
