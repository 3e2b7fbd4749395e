package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"unicode/utf8"

	"neutrino/internal/fault"
)

// maxDepth bounds how deep the lists and objects of a body may be nested.
const maxDepth = 32

// errBody is what Neutron says of a body that is no JSON object.
func errBody() *fault.Fault { return fault.HTTPBadRequest("Body contains invalid data") }

// readObject reads the request's body: one JSON object, nothing behind it, no key twice,
// valid UTF-8, and not a type that a web page could make a browser send unasked.
func readObject(w http.ResponseWriter, r *http.Request, limit int64) (map[string]any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil {
		switch kind {
		case "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
			return nil, errBody()
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return nil, fault.New("HTTPRequestEntityTooLarge", http.StatusRequestEntityTooLarge, "Request is too large.")
		}
		return nil, errBody()
	}
	return parseObject(text)
}

// parseObject parses one JSON object. Numbers come as json.Number.
func parseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errBody()
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	x, err := parseValue(dec, 0)
	if err != nil {
		if f := fault.As(err); f != nil {
			return nil, f
		}
		return nil, errBody()
	}
	if _, err = dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errBody()
	}
	m, ok := x.(map[string]any)
	if !ok {
		return nil, errBody()
	}
	return m, nil
}

// parseValue reads the next value.
func parseValue(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, errBody()
	}
	if open == '{' {
		return parseMembers(dec, depth+1)
	}
	list := []any{}
	for dec.More() {
		x, errItem := parseValue(dec, depth+1)
		if errItem != nil {
			return nil, errItem
		}
		list = append(list, x)
	}
	_, err = dec.Token() // the closing bracket, or an error
	return list, err
}

func parseMembers(dec *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok {
			return nil, errBody()
		}
		if _, twice := m[key]; twice {
			return nil, fault.HTTPBadRequest("Body contains invalid data: '%s' is given twice", key)
		}
		if m[key], err = parseValue(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return m, err
}

// unwrap takes the resource objects out of a body: {"network": {...}} or, where bulk is
// allowed, {"networks": [{...}, ...]}.
func unwrap(body map[string]any, single, plural string, bulkAllowed bool) (items []map[string]any, bulk bool, err error) {
	name := single
	if list, many := body[plural]; many && bulkAllowed {
		name, bulk = plural, true
		rows, isList := list.([]any)
		if !isList || len(rows) == 0 {
			return nil, true, fault.HTTPBadRequest("Resources required")
		}
		for _, row := range rows {
			item, isObject := row.(map[string]any)
			if !isObject {
				return nil, true, fault.HTTPBadRequest("Object '%s' contains invalid data", single)
			}
			items = append(items, bare(item, single))
		}
	} else {
		one, found := body[single]
		if !found {
			return nil, false, fault.HTTPBadRequest("Unable to find '%s' in request body", single)
		}
		item, isObject := one.(map[string]any)
		if !isObject {
			return nil, false, fault.HTTPBadRequest("Object '%s' contains invalid data", single)
		}
		items = append(items, item)
	}
	var unknown []string
	for k := range body {
		if k != name {
			unknown = append(unknown, k)
		}
	}
	return items, bulk, unrecognized(unknown)
}

// bare accepts the items of a bulk body wrapped once more, as Neutron does.
func bare(item map[string]any, single string) map[string]any {
	if inner, ok := item[single].(map[string]any); ok && len(item) == 1 {
		return inner
	}
	return item
}

// unrecognized is the 400 for attributes that the resource does not have, or nil.
func unrecognized(names []string) error {
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	list := names[0]
	for _, n := range names[1:] {
		list += ", " + n
	}
	return fault.HTTPBadRequest("Unrecognized attribute(s) '%s'", list)
}
