package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// A row's value is {"v":1,"row":<JSON>}. A reader that meets a version it does not know
// leaves the row alone.
const (
	formatVersion = 1
	valueHead     = `{"v":1,"row":`
	valueTail     = "}"
)

func encode(row any) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(1536)
	b.WriteString(valueHead)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(row); err != nil {
		return nil, err
	}
	b.Truncate(b.Len() - 1) // Encode ends with a newline
	b.WriteString(valueTail)
	return b.Bytes(), nil
}

var errNoRow = errors.New("value has no row")

// unwrap returns the row's JSON. What encode writes is recognised by its first bytes;
// anything else is parsed.
func unwrap(value []byte) ([]byte, error) {
	if body, ok := bytes.CutPrefix(value, []byte(valueHead)); ok && bytes.HasSuffix(body, []byte(valueTail)) {
		return body[:len(body)-len(valueTail)], nil
	}
	var w struct {
		V   int             `json:"v"`
		Row json.RawMessage `json:"row"`
	}
	if err := json.Unmarshal(value, &w); err != nil {
		return nil, err
	}
	if w.V != formatVersion {
		return nil, fmt.Errorf("format version %d, this program knows %d", w.V, formatVersion)
	}
	if len(w.Row) == 0 {
		return nil, errNoRow
	}
	return w.Row, nil
}
