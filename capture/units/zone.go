package units

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

const systemZone = "/etc/localtime"

// maxZone is more than the longest file of a zone, bytes.
const maxZone = 1 << 20

// readZone reads the file of a zone. A device or a pipe may have no end.
func readZone(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxZone+1))
	if len(data) > maxZone {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxZone)
	}
	return data, err
}

// LocalZone returns the zone of this process: that of $TZ, or of /etc/localtime. Where
// these are wrong package time uses UTC, and says nothing.
func LocalZone() (*time.Location, error) {
	if tz, set := os.LookupEnv("TZ"); set {
		return ParseZone(tz)
	}
	data, err := readZone(systemZone)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(systemZone); err != nil { // and no dangling link
			return time.UTC, nil
		}
	}
	if err == nil {
		_, err = time.LoadLocationFromTZData("Local", data)
	}
	if err != nil {
		return nil, fmt.Errorf("time zone of this machine: %w. Set TZ, or install tzdata and link %s to a zone", err, systemZone)
	}
	return time.Local, nil
}

// ParseZone parses a value of $TZ: the name of a zone, the path of its file, or a rule of
// POSIX.1 such as CET-1CEST,M3.5.0,M10.5.0/3 or <+03>-3. Empty is UTC.
func ParseZone(tz string) (*time.Location, error) {
	name := strings.TrimPrefix(tz, ":")
	switch {
	case name == "":
		return time.UTC, nil
	case strings.HasPrefix(name, "/"):
		data, err := readZone(name)
		if err == nil {
			var zone *time.Location
			if zone, err = time.LoadLocationFromTZData(name, data); err == nil {
				return zone, nil
			}
		}
		return nil, fmt.Errorf("time zone TZ=%s: %w. Name a zone such as Europe/Berlin", tz, err)
	}
	if zone, err := time.LoadLocation(name); err == nil && name != "Local" {
		return zone, nil
	}
	if zone, ok := posixZone(name); ok {
		return zone, nil
	}
	return nil, fmt.Errorf("time zone TZ=%s: is not on this machine. Correct the name, install tzdata, or write a rule such as CET-1CEST,M3.5.0,M10.5.0/3", tz)
}

// posixZone returns the zone of a POSIX.1 rule. Package time knows such rules as the
// last line of a TZif file (RFC 8536, 3.3); the file made here has nothing else.
func posixZone(rule string) (*time.Location, bool) {
	header := func(types, chars byte) string {
		return "TZif2" + strings.Repeat("\x00", 15+4*4) + "\x00\x00\x00" + string(types) + "\x00\x00\x00" + string(chars)
	}
	const unnamed = "\x00\x00\x00\x00\x00\x00\x00" // offset, isdst, index; the empty abbreviation
	zone, err := time.LoadLocationFromTZData(rule, []byte(header(0, 0)+header(1, 1)+unnamed+"\n"+rule+"\n"))
	if err != nil {
		return nil, false
	}
	name, _ := time.Unix(0, 0).In(zone).Zone() // unnamed if package time cannot read the rule
	return zone, name != ""
}
