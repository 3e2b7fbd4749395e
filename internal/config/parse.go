package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// parse turns an option's text into the value of its kind. The error says what is
// wrong and what is allowed.
func (o *Option) parse(text string) (any, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the value is not UTF-8")
	}
	switch o.Kind {
	case String:
		if w, ok := o.Words[text]; ok {
			text = w
		}
		return text, o.one(text)
	case Bool:
		return parseBool(text)
	case Int, Port:
		return o.integer(text)
	case Seconds:
		n, err := o.integer(text)
		return time.Duration(n) * time.Second, err
	case Fractional:
		return o.fractional(text)
	case List:
		return o.list(text)
	case Mappings:
		return o.mappings(text)
	case Exclude:
		return exclusions(text)
	case MTUs:
		return o.mtus(text)
	default:
		return text, nil
	}
}

// one checks a single value, or one item of a list.
func (o *Option) one(v string) error {
	if len(o.Choices) > 0 && !slices.Contains(o.Choices, v) && (v != "" || o.Kind == List) {
		reason := "not allowed; allowed are " + strings.Join(o.Choices, ", ")
		if near, ok := nearest(v, o.Choices); ok && len(v) > 2 {
			reason += fmt.Sprintf("; did you mean %s?", near)
		}
		return errors.New(reason)
	}
	if o.check != nil && (v != "" || o.Kind == List) {
		return o.check(v)
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return false, errors.New("not a boolean; allowed are true, false, yes, no, on, off, 1, 0")
}

func (o *Option) integer(text string) (int, error) {
	text = strings.TrimSpace(text)
	if w, ok := o.Words[strings.ToLower(text)]; ok {
		text = w
	}
	if text == "" {
		text = o.Default // as oslo.config: an empty number is no number
	}
	lo, hi := o.Min, o.Max
	if o.Kind == Port {
		lo, hi = 1, 65535
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil && lo != hi:
		return 0, fmt.Errorf("not a whole number from %d to %d", lo, hi)
	case err != nil:
		return 0, errors.New("not a whole number")
	case lo != hi && (n < int64(lo) || n > int64(hi)):
		return 0, fmt.Errorf("allowed are %d to %d", lo, hi)
	}
	return int(n), o.one(strconv.FormatInt(n, 10))
}

// fractional reads seconds as oslo.config reads a float, down to the millisecond.
func (o *Option) fractional(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		text = o.Default
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return 0, fmt.Errorf("not a number from %d to %d", o.Min, o.Max)
	case f < float64(o.Min) || f > float64(o.Max):
		return 0, fmt.Errorf("allowed are %d to %d", o.Min, o.Max)
	}
	return time.Duration(f*1000) * time.Millisecond, nil
}

// items splits a list as oslo.config does: commas, blanks around items do not count,
// commas at the end do not either.
func items(text string) []string {
	text = strings.TrimRight(strings.TrimSpace(text), ",")
	if text == "" {
		return nil
	}
	all := strings.Split(text, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

func (o *Option) list(text string) ([]string, error) {
	all := items(text)
	var errs []error
	for _, item := range all {
		switch err := o.one(item); {
		case item == "":
			errs = append(errs, errors.New("an empty item between commas"))
		case strings.Contains(item, "\n"):
			errs = append(errs, fmt.Errorf("a comma is missing in %q", item))
		case err != nil:
			errs = append(errs, fmt.Errorf("%q: %w", item, err))
		}
	}
	return all, oneLine(errs)
}

// oneLine joins errors of one value into one sentence.
func oneLine(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	var texts []string
	for _, e := range errs {
		texts = append(texts, e.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}

// mappings reads physical_network:device pairs; a network may come several times.
func (o *Option) mappings(text string) (map[string][]string, error) {
	all := map[string][]string{}
	var errs []error
	for _, item := range items(text) {
		network, device, ok := strings.Cut(item, ":")
		network, device = strings.TrimSpace(network), strings.TrimSpace(device)
		if !ok {
			errs = append(errs, fmt.Errorf("%q is not of the form physical_network:device", item))
			continue
		}
		if err := isPhysicalNetwork(network); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", item, err))
		} else if err := o.one(device); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", item, err))
		} else if slices.Contains(all[network], device) {
			errs = append(errs, fmt.Errorf("%q is named twice", item))
		}
		all[network] = append(all[network], device)
	}
	return all, oneLine(errs)
}

// exclusions reads device:slot;slot items.
func exclusions(text string) (map[string][]string, error) {
	all := map[string][]string{}
	var errs []error
	for _, item := range items(text) {
		device, slots, ok := strings.Cut(item, ":")
		device = strings.TrimSpace(device)
		if !ok || isDevice(device) != nil {
			errs = append(errs, fmt.Errorf("%q is not of the form device:pci_slot;pci_slot", item))
			continue
		}
		for slot := range strings.SplitSeq(strings.TrimRight(slots, "; "), ";") {
			slot = strings.ToLower(strings.TrimSpace(slot))
			if !pciSlot.MatchString(slot) {
				errs = append(errs, fmt.Errorf("%q is not a PCI address such as 0000:07:00.2", slot))
				continue
			}
			all[device] = append(all[device], slot)
		}
	}
	return all, oneLine(errs)
}

// mtus reads physical_network:bytes pairs.
func (o *Option) mtus(text string) (map[string]int, error) {
	all := map[string]int{}
	var errs []error
	for _, item := range items(text) {
		network, number, _ := strings.Cut(item, ":")
		network = strings.TrimSpace(network)
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 16)
		_, twice := all[network]
		switch {
		case isPhysicalNetwork(network) != nil, err != nil, n < 68:
			errs = append(errs, fmt.Errorf("%q is not of the form physical_network:bytes, with bytes from 68 to 65535", item))
		case twice:
			errs = append(errs, fmt.Errorf("%q is named twice", network))
		default:
			all[network] = int(n)
		}
	}
	return all, oneLine(errs)
}
