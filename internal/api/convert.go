package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
)

// Checks of sent values: each takes what JSON decoding gives and returns the value that
// an attribute's Set wants, or an error. The words are Neutron's validators'.

// why is the reason of a validator; the generic code puts the attribute's name to it.
type why string

// Error returns the reason.
func (w why) Error() string { return string(w) }

func whyf(format string, args ...any) error { return why(fmt.Sprintf(format, args...)) }

// checkedAs gives err the attribute's name.
func checkedAs(attr string, err error) error {
	if w, ok := err.(why); ok { //nolint:errorlint // made just below, never wrapped
		return fault.HTTPBadRequest("Invalid input for %s. Reason: %s.", attr, string(w))
	}
	return err
}

// spell writes a value as Neutron's messages do (Python's str).
func spell(x any) string {
	if s, ok := x.(string); ok {
		return s
	}
	return quoteAny(x)
}

// quoteAny is Python's repr.
func quoteAny(x any) string {
	switch x := x.(type) {
	case nil:
		return "None"
	case string:
		return "'" + x + "'"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case json.Number:
		return x.String()
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = quoteAny(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		parts := make([]string, 0, len(x))
		for k, e := range x {
			parts = append(parts, quoteAny(k)+": "+quoteAny(e))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(x)
}

type check = func(sent any) (any, error)

// orNull accepts null as well; Set then gets nil.
func orNull(c check) check {
	return func(x any) (any, error) {
		if x == nil {
			return nil, nil
		}
		return c(x)
	}
}

// text of at most limit characters.
func text(limit int) check {
	return func(x any) (any, error) {
		s, ok := x.(string)
		if !ok {
			return nil, whyf("'%s' is not a valid string", spell(x))
		}
		if limit > 0 && utf8.RuneCountInString(s) > limit {
			return nil, whyf("'%s' exceeds maximum length of %d", s, limit)
		}
		return s, nil
	}
}

// someText is text that is not blank.
func someText(limit int) check {
	return func(x any) (any, error) {
		s, err := text(limit)(x)
		if err == nil && strings.TrimSpace(s.(string)) == "" {
			return nil, whyf("'%s' Blank strings are not permitted", s)
		}
		return s, err
	}
}

// parseBool is Neutron's convert_to_boolean.
func parseBool(x any) (any, error) {
	switch v := x.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "1", "yes", "on", "t", "y":
			return true, nil
		case "false", "0", "no", "off", "f", "n":
			return false, nil
		}
	case json.Number:
		switch v.String() {
		case "0":
			return false, nil
		case "1":
			return true, nil
		}
	}
	return nil, fault.InvalidInput("'%s' cannot be converted to boolean", spell(x))
}

// parseInt is Neutron's convert_to_int.
func parseInt(x any) (any, error) {
	var s string
	switch v := x.(type) {
	case string:
		s = strings.TrimSpace(v)
	case json.Number:
		s = v.String()
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, fault.InvalidInput("'%s' is not an integer", spell(x))
	}
	return n, nil
}

func nonNegative(x any) (any, error) {
	n, err := parseInt(x)
	if err == nil && n.(int) < 0 {
		return nil, whyf("'%d' should be non-negative", n)
	}
	return n, err
}

// oneOf the texts, as they are.
func oneOf(values ...string) check {
	shown := "['" + strings.Join(values, "', '") + "']"
	return func(x any) (any, error) {
		if s, ok := x.(string); ok && slices.Contains(values, s) {
			return s, nil
		}
		return nil, whyf("%s is not in %s", spell(x), shown)
	}
}

func ipVersion(x any) (any, error) {
	n, err := parseInt(x)
	if err == nil && n != 4 && n != 6 {
		return nil, whyf("%d is not in [4, 6]", n)
	}
	return n, err
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

func parseUUID(x any) (any, error) {
	s, ok := x.(string)
	if !ok || !uuidForm.MatchString(s) {
		return nil, whyf("'%s' is not a valid UUID", spell(x))
	}
	return s, nil
}

// parseObjectValue is Neutron's type:dict.
func parseObjectValue(x any) (any, error) {
	m, ok := x.(map[string]any)
	if !ok {
		return nil, whyf("'%s' is not a dictionary", spell(x))
	}
	return m, nil
}

// uniqueTexts is a list of different texts. Null is no text at all.
func uniqueTexts(item check) check {
	return func(x any) (any, error) {
		if x == nil {
			return []string{}, nil
		}
		list, ok := x.([]any)
		if !ok {
			return nil, whyf("'%s' is not a list", spell(x))
		}
		out := make([]string, 0, len(list))
		for _, e := range list {
			s, err := item(e)
			if err != nil {
				return nil, err
			}
			if slices.Contains(out, s.(string)) {
				return nil, whyf("Duplicate items in the list: '%s'", s)
			}
			out = append(out, s.(string))
		}
		return out, nil
	}
}

// notNull refuses the null that uniqueTexts lets pass.
func notNull(c check) check {
	return func(x any) (any, error) {
		if x == nil {
			return nil, why("'None' is not a list")
		}
		return c(x)
	}
}

func parseAddr(x any) (any, error) {
	s, ok := x.(string)
	if !ok {
		return nil, whyf("'%s' is not a valid IP address", spell(x))
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return nil, whyf("'%s' is not a valid IP address", s)
	}
	return a.Unmap(), nil
}

// parseCIDR masks host bits, as Neutron's canonical form does.
func parseCIDR(x any) (any, error) {
	s, _ := x.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, fault.InvalidInput("%s is not in a CIDR format", spell(x))
	}
	return p.Masked(), nil
}

// subnetList is Neutron's type:subnet_list.
func subnetList(x any) (any, error) {
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("'%s' is not a list", spell(x))
	}
	out := make([]netip.Prefix, 0, len(list))
	for _, e := range list {
		s, _ := e.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, whyf("'%s' is not a valid IP subnet", spell(e))
		}
		if p != p.Masked() {
			return nil, whyf("'%s' isn't a recognized IP subnet cidr, '%s' is recommended", s, p.Masked())
		}
		if slices.Contains(out, p) {
			return nil, whyf("Duplicate items in the list: '%s'", s)
		}
		out = append(out, p)
	}
	return out, nil
}

var macForm = regexp.MustCompile(`^(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$|^(?:[0-9a-fA-F]{2}-){5}[0-9a-fA-F]{2}$`)

// parseMAC keeps the address as it was sent. Neither nothing nor zero is an address.
func parseMAC(x any) (any, error) {
	s, ok := x.(string)
	if !ok || !macForm.MatchString(s) || strings.Trim(s, "0:-") == "" {
		return nil, whyf("'%s' is not a valid MAC address", spell(x))
	}
	return s, nil
}

// keysAre is Neutron's _verify_dict_keys: exactly these.
func keysAre(m map[string]any, want ...string) error {
	same := len(m) == len(want)
	got := make([]string, 0, len(m))
	for k := range m {
		got = append(got, k)
		same = same && slices.Contains(want, k)
	}
	if same {
		return nil
	}
	slices.Sort(got)
	show := func(l []string) string {
		if len(l) == 0 {
			return "set()"
		}
		return "{'" + strings.Join(l, "', '") + "'}"
	}
	return whyf("Validation of dictionary's keys failed. Expected keys: %s Provided keys: %s", show(want), show(got))
}

// plainNumbers turns json.Number into float64 all the way down: what the store gives
// back after a restart too.
func plainNumbers(x any) any {
	switch v := x.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return x
}
