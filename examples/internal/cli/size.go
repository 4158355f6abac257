package cli

import "github.com/ixcap/ixcap/capture/daemon/settings/value"

// Size is a number of bytes, as a flag: "256MiB", "2GiB", "1.5GB", "4096".
type Size = value.Size

// ParseSize reads a size.
func ParseSize(s string) (Size, error) { return value.ParseSize(s) }

// Text is an argument, or what is in FILE if it is @FILE.
func Text(arg string) (string, error) { return value.Text(arg) }
