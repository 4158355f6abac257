// Package units parses and prints the quantities that flags, settings files and
// HTTP requests share, so that one text means the same everywhere:
//
//	"256MiB"           ─► Size        bytes
//	"1d12h"            ─► Duration    nanoseconds
//	"yesterday 18:00"  ─► ParseTime   a point in time, by the clocks of LocalZone
//	"-5m", "+1m"       ─► Window      from one point in time to another
//
// Size and Duration implement pflag.Value, encoding.TextUnmarshaler and
// encoding.TextMarshaler. An empty text is an error.
package units
