package api

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// kind of a value.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindText
	kindTime
	kindJSON   // lists and objects: encoded, never compared
	kindAbsent // the row does not have the attribute: its key is not written
)

// value is one attribute of one row, as it is filtered, sorted and encoded. It is passed
// by value and holds no memory of its own, so that listing does not allocate.
type value struct {
	kind kind
	num  int64 // kindBool: 0 or 1; kindTime: Unix seconds
	text string
	json appender
}

// appender is a list or an object that writes itself. Implementations are pointers into
// the row (or constants), which costs nothing to put into an interface.
type appender interface {
	appendJSON(b []byte) []byte
}

func textValue(s string) value     { return value{kind: kindText, text: s} }
func intValue(n int64) value       { return value{kind: kindInt, num: n} }
func timeValue(t time.Time) value  { return value{kind: kindTime, num: t.Unix()} }
func jsonValue(a appender) value   { return value{kind: kindJSON, json: a} }
func addrValue(a netip.Addr) value { return textOrNull(addrText(a)) }

func boolValue(b bool) value {
	if b {
		return value{kind: kindBool, num: 1}
	}
	return value{kind: kindBool}
}

// textOrNull is null for "".
func textOrNull(s string) value {
	if s == "" {
		return value{}
	}
	return textValue(s)
}

// intOrNull is null for nil.
func intOrNull(n *int) value {
	if n == nil {
		return value{}
	}
	return intValue(int64(*n))
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// appendTo writes the value as JSON.
func (x value) appendTo(b []byte) []byte {
	switch x.kind {
	case kindBool:
		return strconv.AppendBool(b, x.num != 0)
	case kindInt:
		return strconv.AppendInt(b, x.num, 10)
	case kindText:
		return appendText(b, x.text)
	case kindTime:
		b = append(b, '"')
		b = time.Unix(x.num, 0).UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
		return append(b, '"')
	case kindJSON:
		return x.json.appendJSON(b)
	}
	return append(b, "null"...)
}

// compare orders values for sorting: null first, then by number or text.
func (x value) compare(y value) int {
	if x.kind == kindNull || y.kind == kindNull {
		return cmp.Compare(min(x.kind, 1), min(y.kind, 1))
	}
	if x.kind == kindText {
		return cmp.Compare(x.text, y.text)
	}
	return cmp.Compare(x.num, y.num)
}

// equal reports whether both are the same for a filter. An empty text in a filter finds
// null too.
func (x value) equal(want value) bool {
	if x.kind == kindNull {
		return want.kind == kindNull || (want.kind == kindText && want.text == "")
	}
	return x.kind == want.kind && x.num == want.num && x.text == want.text
}

// texts is a list of strings.
type texts []string

func (l *texts) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, s := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, s)
	}
	return append(b, ']')
}

func textsValue(l *[]string) value { return jsonValue((*texts)(l)) }

// rawJSON is written as it stands.
type rawJSON []byte

func (r *rawJSON) appendJSON(b []byte) []byte { return append(b, *r...) }

// document is an object of unknown shape, such as binding:profile.
type document map[string]any

func (d *document) appendJSON(b []byte) []byte { return appendObject(b, *d) }

func documentValue(m *map[string]any) value { return jsonValue((*document)(m)) }

// appendObject writes a map with its keys sorted.
func appendObject(b []byte, m map[string]any) []byte {
	var room [16]string
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, k), ':')
		b = appendAny(b, m[k])
	}
	return append(b, '}')
}

// appendAny writes what JSON decoding can give.
func appendAny(b []byte, x any) []byte {
	switch x := x.(type) {
	case nil:
		return append(b, "null"...)
	case string:
		return appendText(b, x)
	case bool:
		return strconv.AppendBool(b, x)
	case int:
		return strconv.AppendInt(b, int64(x), 10)
	case int64:
		return strconv.AppendInt(b, x, 10)
	case map[string]any:
		return appendObject(b, x)
	case []any:
		b = append(b, '[')
		for i, e := range x {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendAny(b, e)
		}
		return append(b, ']')
	}
	out, err := json.Marshal(x)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, out...)
}

const hexDigits = "0123456789abcdef"

// appendText writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}
