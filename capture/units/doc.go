// Package units parses and prints the quantities that flags, settings files and
// HTTP requests share, so that one text means the same everywhere:
//
//	"256MiB" ─► Size      bytes
//	"1d12h"  ─► Duration  nanoseconds
//
// Every type implements pflag.Value, encoding.TextUnmarshaler and
// encoding.TextMarshaler. An empty text is an error.
package units
