package stream

import (
	"encoding/binary"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// documented are the tables of docs/STREAM.md: offset and type of each field.
func documented(t *testing.T) map[string]map[string][2]string {
	text, err := os.ReadFile("../../docs/STREAM.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)\\.(\\w+)` \\| (\\d+) \\| ([^|]+) \\|")
	tables := map[string]map[string][2]string{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		if tables[m[1]] == nil {
			tables[m[1]] = map[string][2]string{}
		}
		require.NotContains(t, tables[m[1]], m[2])
		tables[m[1]][m[2]] = [2]string{m[3], m[4]}
	}
	return tables
}

func TestDocumentedLayoutMatchesTheCode(t *testing.T) {
	tables := documented(t)
	for name, of := range map[string]reflect.Type{
		"header": reflect.TypeFor[header](), "cursors": reflect.TypeFor[cursors](), "start": reflect.TypeFor[start](),
		"Entry": reflect.TypeFor[Entry](), "cursor": reflect.TypeFor[cursor](),
	} {
		fields := 0
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Name == "_" {
				continue
			}
			fields++
			row, ok := tables[name][f.Name]
			require.True(t, ok, "%s.%s is not documented", name, f.Name)
			require.Equal(t, strconv.Itoa(int(f.Offset)), row[0], "%s.%s", name, f.Name)
			count, size, found := 1, 0, false
			typ := row[1]
			if n, rest, many := strings.Cut(typ, " "); many {
				count, _ = strconv.Atoi(n)
				typ = strings.TrimPrefix(rest, "× ")
			}
			size, found = map[string]int{"u8": 1, "u16": 2, "u32": 4, "u64": 8, "bytes": 1}[typ]
			require.True(t, found, row[1])
			require.EqualValues(t, f.Type.Size(), count*size, "%s.%s", name, f.Name)
		}
		require.Len(t, tables[name], fields, name)
	}
}

func TestDocumentedMessagesMatchTheCode(t *testing.T) {
	tables := documented(t)
	field := func(message string, b []byte, name string) uint64 {
		row, ok := tables[message][name]
		require.True(t, ok, "%s.%s is not documented", message, name)
		at, err := strconv.Atoi(row[0])
		require.NoError(t, err)
		switch row[1] {
		case "u8":
			return uint64(b[at])
		case "u16":
			return uint64(binary.LittleEndian.Uint16(b[at:]))
		case "u32":
			return uint64(binary.LittleEndian.Uint32(b[at:]))
		case "u64":
			return binary.LittleEndian.Uint64(b[at:])
		}
		return uint64(at) // where text begins
	}
	same := func(message string, b []byte, want map[string]uint64) {
		require.Len(t, tables[message], len(want), message)
		for name, v := range want {
			require.Equal(t, v, field(message, b, name), "%s.%s", message, name)
		}
	}
	same("request", encodeRequest("abcde", Options{Policy: Lossy, Start: FromOldest, Aligned: true, DetachAfter: 77 * time.Second, Fanout: "group=2"}), map[string]uint64{
		"magic": requestMagic, "version": version, "policy": 1, "start": 1, "aligned": 1, "zero1": 0, "detach": 77e9, "namelen": 5, "textlen": 7, "name": requestBytes,
	})
	a := answer{state: detached, id: 1 << 40, slot: 63, searching: true, group: 3, member: 126, dataBytes: 5 << 40, ctrlBytes: 6 << 40, dataPage: 7 << 20, controlPage: 8 << 20, text: "abc"}
	same("answer", a.encode(), map[string]uint64{
		"magic": answerMagic, "version": version, "state": 2, "id": 1 << 40, "slot": 63, "searching": 1, "group": 3, "member": 126,
		"databytes": 5 << 40, "controlbytes": 6 << 40, "datapage": 7 << 20, "controlpage": 8 << 20, "textlen": 3, "text": answerBytes,
	})
	s := newStream(t, Config{Size: Block})
	f := numbered(3, 100)
	require.True(t, s.Producer().Append(11, 12, f, 60))
	same("record", s.bytes, map[string]uint64{"seconds": 11, "nanoseconds": 12, "caplen": 60, "len": 100, "data": RecordHeader})

	text, err := os.ReadFile("../../docs/STREAM.md")
	require.NoError(t, err)
	for _, magic := range []uint64{magic, requestMagic, answerMagic, goodbyeMagic} {
		b := binary.LittleEndian.AppendUint64(nil, magic)
		require.Regexp(t, "0x"+strconv.FormatUint(magic, 16)+`,? \(?"`+string(b)+`"`, string(text))
	}
	require.Contains(t, string(text), "layout version "+strconv.Itoa(version))
}
