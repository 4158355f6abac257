package units

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseTime parses a point in time. Words, times of the day and spans are relative to
// now; what has no zone is in that of now, as is the result. docs/TIMES.md lists the
// forms. A text that has no meaning or several is an error with the texts to write
// instead.
func ParseTime(text string, now time.Time) (time.Time, error) {
	return timeParser{now: now}.parse(text)
}

// timeParser parses texts relative to a time and in its zone.
type timeParser struct {
	now  time.Time
	from time.Time // start of the window, which "+1m" follows; zero: none
}

// parse is ParseTime.
func (p timeParser) parse(text string) (time.Time, error) {
	t, err := p.form(strings.TrimSpace(text))
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w", text, err)
	}
	if ns := t.UnixNano(); !time.Unix(0, ns).Equal(t) {
		return time.Time{}, fmt.Errorf("time %q: is outside the years 1678 to 2261. Write a year between them", text)
	}
	return t.In(p.now.Location()), nil
}

var (
	numberForm   = regexp.MustCompile(`^(@?)(\d+)(?:[.,](\d+))?$`)
	spanForm     = regexp.MustCompile(`^(?i:(now|today|yesterday|tomorrow|midnight|noon)\s*)?([-+])\s*([0-9][0-9a-zµ.]*)$`)
	agoForm      = regexp.MustCompile(`^(?i)(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago$`)
	dayForm      = regexp.MustCompile(`^(?i:(\d{4})-(\d\d)-(\d\d)|(\d{4})/(\d\d)/(\d\d)|(\d{4})(\d\d)(\d\d)|[a-z]{5,9})`)
	colonForm    = regexp.MustCompile(`^(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?`)
	compactForm  = regexp.MustCompile(`^(\d\d)(\d\d)(?:(\d\d)(?:[.,](\d+))?)?`)
	clockWord    = regexp.MustCompile(`^(?i:midnight|noon)`)
	ampmForm     = regexp.MustCompile(`^(|.*[ \tTt_])(\d\d?)((?::\d\d){0,2})\s*(?i:([ap]\.?m\.?))(| .*)$`)
	offsetForm   = regexp.MustCompile(`^([-+])(\d\d)(?::?(\d\d))?$`)
	dayMonthForm = regexp.MustCompile(`^(\d\d?)[./-](\d\d?)[./-](\d{4})`)
)

const timeExamples = `2026-11-28T18:00:00Z, "2026-11-28 18:00", 18:00, yesterday, -5m or @1795888800`

// form parses a text by the first form that it has.
func (p timeParser) form(text string) (time.Time, error) {
	switch {
	case text == "":
		return time.Time{}, fmt.Errorf("is empty. Write a time such as %s", timeExamples)
	case strings.EqualFold(text, "now"):
		return p.now.Round(0), nil // without the monotonic clock
	}
	if m := numberForm.FindStringSubmatch(text); m != nil {
		return p.number(m[1] != "", m[2], m[3])
	}
	if m := spanForm.FindStringSubmatch(text); m != nil {
		return p.span(m[1], m[2], m[3])
	}
	if m := agoForm.FindStringSubmatch(text); m != nil {
		return p.ago(m[1], m[2])
	}
	if m := dayMonthForm.FindStringSubmatch(text); m != nil {
		return time.Time{}, dayOrMonth(m)
	}
	if m := ampmForm.FindStringSubmatch(text); m != nil {
		return time.Time{}, twelveHour(m)
	}
	return p.calendar(text)
}

// span parses a span before or after the time of a word. Without a word it is before
// now, or after the start of the window.
func (p timeParser) span(word, sign, text string) (time.Time, error) {
	if strings.Trim(text, "0123456789.") == "" {
		return time.Time{}, fmt.Errorf("the span has no unit. Write %s%ss, %s%sm, %s%sh or %s%sd", sign, text, sign, text, sign, text, sign, text)
	}
	d, err := ParseDuration(text)
	if err != nil {
		return time.Time{}, err
	}
	base := p.now
	switch {
	case word == "" && sign == "+" && !p.from.IsZero():
		base = p.from
	case word == "" && sign == "+":
		return time.Time{}, fmt.Errorf("the start of the window it would follow is not given. Write now%s%s", sign, text)
	case word != "" && !strings.EqualFold(word, "now"):
		if base, err = p.calendar(word); err != nil {
			return time.Time{}, err
		}
	}
	if sign == "-" {
		d = -d
	}
	return base.Add(d.Duration()), nil
}

// ago parses "5m ago" and "2 hours ago".
func (p timeParser) ago(number, name string) (time.Time, error) {
	unit := spanUnit(strings.ToLower(name))
	if unit < time.Second {
		return time.Time{}, fmt.Errorf("%s is no unit of time. Write seconds, minutes, hours, days or weeks", name)
	}
	whole, decimals, _ := strings.Cut(number, ".")
	span, ok := nanoseconds(whole, decimals, unit)
	if !ok || span > math.MaxInt64/2 {
		return time.Time{}, fmt.Errorf("%s is too long ago. Write a date", number)
	}
	return p.now.Add(-time.Duration(span)), nil
}

// twelveHour returns the error about a time of the 12-hour clock, as m of ampmForm.
func twelveHour(m []string) error {
	hour, _ := strconv.Atoi(m[2])
	if hour < 1 || hour > 12 {
		return fmt.Errorf("no such time of the day as %s%s%s. Write 00:00 to 23:59:59 or 24:00", m[2], m[3], m[4])
	}
	if hour %= 12; strings.ToLower(m[4])[0] == 'p' {
		hour += 12
	}
	if m[3] == "" {
		m[3] = ":00"
	}
	return fmt.Errorf("the day has 24 hours. Write %s%02d%s%s", m[1], hour, m[3], m[5])
}

// dayOrMonth returns the error about a date whose first number may be the day or the
// month.
func dayOrMonth(m []string) error {
	first, _ := strconv.Atoi(m[1])
	second, _ := strconv.Atoi(m[2])
	var dates []string
	for _, d := range [][2]int{{first, second}, {second, first}} { // month, day
		date := fmt.Sprintf("%s-%02d-%02d", m[3], d[0], d[1])
		if _, err := time.Parse(time.DateOnly, date); err == nil && !slices.Contains(dates, date) {
			dates = append(dates, date)
		}
	}
	if len(dates) == 0 {
		return fmt.Errorf("no such date. Write year, month and day: 2026-11-28")
	}
	return fmt.Errorf("the year must come first. Write %s", strings.Join(dates, " or "))
}

// date is a day of the calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

// clock is a time of the day.
type clock struct{ hour, min, sec, nsec int }

// calendar parses a day, a time of the day, or both, and a zone.
func (p timeParser) calendar(text string) (time.Time, error) {
	dayText, rest := p.cutDay(text)
	compact := dayText != "" && strings.Trim(dayText, "0123456789") == ""
	sep := len(rest) - len(strings.TrimLeft(rest, " \tTt_"))
	var clockText string
	var form *regexp.Regexp
	for _, f := range []*regexp.Regexp{colonForm, clockWord, compactForm} {
		if f == compactForm && (dayText == "" || sep == 0 && !compact) || f != compactForm && dayText != "" && sep == 0 {
			continue
		}
		if clockText = f.FindString(rest[sep:]); clockText != "" {
			form = f
			break
		}
	}
	if dayText == "" && clockText == "" {
		return time.Time{}, fmt.Errorf("no form of a time that is known. Write %s", timeExamples)
	}
	if clockText != "" {
		rest = rest[sep+len(clockText):]
	}
	zone, name, err := p.zone(strings.TrimSpace(rest), clockText != "")
	if err != nil {
		return time.Time{}, err
	}
	day, err := p.day(dayText, p.now.In(zone))
	if err != nil {
		return time.Time{}, err
	}
	if clockText == "" {
		if name != "" {
			return time.Time{}, fmt.Errorf("%q: a day's zone must be Z or a name such as Europe/Berlin. Write it so", name)
		}
		return startOfDay(day, zone)
	}
	at, err := parseClock(form, clockText)
	if err != nil {
		return time.Time{}, err
	}
	return resolve(day, at, zone, name)
}

// cutDay cuts a day off the start of text.
func (p timeParser) cutDay(text string) (day, rest string) {
	day = dayForm.FindString(text)
	if _, isWord := weekday(day); isWord || day != "" && day[0] >= '0' && day[0] <= '9' || slices.Contains(dayWords, strings.ToLower(day)) {
		return day, text[len(day):]
	}
	return "", text
}

// dayWords are the days relative to today, the first one being yesterday.
var dayWords = []string{"yesterday", "today", "tomorrow"}

// weekday parses the name of a day of the week.
func weekday(text string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, d.String()) {
			return d, true
		}
	}
	return 0, false
}

// day returns the day of a text that cutDay cut off; "" is today.
func (p timeParser) day(text string, now time.Time) (date, error) {
	today := dateOf(now)
	if text == "" {
		return today, nil
	}
	if m := dayForm.FindStringSubmatch(text); text[0] >= '0' && text[0] <= '9' {
		digits := strings.Join(m[1:], "")
		t, err := time.Parse("20060102", digits)
		if err != nil {
			return date{}, fmt.Errorf("no such date as %s. Write year, month and day: 2026-11-28", text)
		}
		return dateOf(t), nil
	}
	back := 1 - slices.Index(dayWords, strings.ToLower(text))
	if d, is := weekday(text); is {
		if back = int(now.Weekday()-d+7) % 7; back == 0 {
			return date{}, fmt.Errorf("may be today or a week ago. Write %s or %s",
				now.Format(time.DateOnly), now.AddDate(0, 0, -7).Format(time.DateOnly))
		}
	}
	return dateOf(time.Date(today.year, today.month, today.day-back, 0, 0, 0, 0, time.UTC)), nil
}

// parseClock parses a time of the day. 24:00 is the end of the day.
func parseClock(form *regexp.Regexp, text string) (clock, error) {
	switch strings.ToLower(text) {
	case "midnight":
		return clock{}, nil
	case "noon":
		return clock{hour: 12}, nil
	}
	m := form.FindStringSubmatch(text)
	var c clock
	c.hour, _ = strconv.Atoi(m[1])
	c.min, _ = strconv.Atoi(m[2])
	c.sec, _ = strconv.Atoi(m[3])
	c.nsec, _ = strconv.Atoi(fraction(m[4]))
	if c.hour > 23 && c != (clock{hour: 24}) || c.min > 59 || c.sec > 59 {
		return clock{}, fmt.Errorf("no such time of the day as %s. Write 00:00 to 23:59:59 or 24:00", text)
	}
	return c, nil
}

// fraction returns the decimals of a second as nanoseconds; further ones are cut off.
func fraction(digits string) string { return (digits + "000000000")[:9] }

// zone parses a zone; "" is that of now. name is set if it is an abbreviation in the
// zone of now.
func (p timeParser) zone(text string, clocked bool) (zone *time.Location, name string, err error) {
	switch strings.ToUpper(text) {
	case "":
		return p.now.Location(), "", nil
	case "Z", "UTC", "GMT":
		return time.UTC, "", nil
	}
	if m := offsetForm.FindStringSubmatch(text); m != nil && clocked {
		hours, _ := strconv.Atoi(m[2])
		minutes, _ := strconv.Atoi("0" + m[3])
		if hours > 23 || minutes > 59 {
			return nil, "", fmt.Errorf("no such zone as %s. Write -23:59 to +23:59", text)
		}
		seconds := (hours*60 + minutes) * 60
		if m[1] == "-" {
			seconds = -seconds
		}
		return time.FixedZone("", seconds), "", nil
	}
	switch {
	case strings.Trim(text, letters) == "":
		return p.now.Location(), text, nil
	case strings.ContainsAny(text[:1], letters) && strings.Contains(text, "/"):
		if zone, err := time.LoadLocation(text); err == nil {
			return zone, "", nil
		}
		return nil, "", fmt.Errorf("no such zone as %s on this machine. Write an offset such as +01:00", text)
	}
	return nil, "", fmt.Errorf("%q is no part of a time that is known. Write %s", text, timeExamples)
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
