package mstconfig

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Errors for errors.Is.
var (
	// ErrNotInstalled: neither program is there.
	ErrNotInstalled = errors.New("neither mstconfig nor mlxconfig is installed")
	// ErrBadOutput: what the program printed has no keys in it.
	ErrBadOutput = errors.New("not the output of mstconfig query")
)

// Value is a key's value as it is printed: "True(1)", "ETH(2)", "16".
type Value string

// Number is the value as a number: that in parentheses where there are any.
func (v Value) Number() (int, bool) {
	text := string(v)
	if _, in, ok := strings.Cut(text, "("); ok {
		text = strings.TrimSuffix(in, ")")
	}
	n, err := strconv.ParseInt(text, 0, 64)
	return int(n), err == nil
}

// Setting is one key. Default and Current are "" where the firmware does not tell.
type Setting struct{ Default, Current, Next Value }

// Pending reports whether a boot changes it.
func (s Setting) Pending() bool { return s.Current != "" && s.Current != s.Next }

// Card is what one card has.
type Card struct {
	Type     string // "ConnectX5"
	Part     string // "MCX556A-ECA_Ax"
	Settings map[string]Setting
}

// Has reports whether the firmware has a key.
func (c Card) Has(key string) bool {
	_, ok := c.Settings[key]
	return ok
}

// Parse reads what "mstconfig -e -d DEVICE query" prints. Without -e, and with firmware
// that does not tell more, there is one column: the next boot's.
func Parse(text string) (Card, error) {
	c := Card{Settings: map[string]Setting{}}
	inside, columns := false, 0
	for line := range strings.Lines(text) {
		if head, rest, ok := strings.Cut(line, ":"); ok && !inside {
			switch rest = strings.TrimSpace(rest); strings.TrimSpace(head) {
			case "Device type":
				c.Type = rest
			case "Name":
				c.Part = rest
			case "Configurations":
				inside, columns = true, 1
				if strings.Contains(rest, "Default") && strings.Contains(rest, "Current") {
					columns = 3
				}
			}
			continue
		}
		if inside {
			c.setting(strings.Fields(line), columns)
		}
	}
	if len(c.Settings) == 0 {
		return Card{}, fmt.Errorf("%w: %.80q", ErrBadOutput, strings.TrimSpace(text))
	}
	return c, nil
}

// setting takes a line "[*] [RO] KEY default current next".
func (c *Card) setting(words []string, columns int) {
	for len(words) > 0 && (words[0] == "*" || words[0] == "RO") {
		words = words[1:]
	}
	if len(words) != columns+1 || !isKey(words[0]) {
		return
	}
	s := Setting{Next: Value(words[columns])}
	if columns == 3 {
		s.Default, s.Current = Value(words[1]), Value(words[2])
	}
	c.Settings[words[0]] = s
}

func isKey(word string) bool {
	for _, r := range word {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_[].", r) {
			return false
		}
	}
	return word != ""
}

// limit is for a card that does not answer.
const limit = 60 * time.Second

// Find is the program that is there, mstconfig before mlxconfig.
func Find() (string, error) {
	for _, name := range []string{"mstconfig", "mlxconfig"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Query reads the card at a PCI address. It needs root.
func Query(ctx context.Context, slot string) (Card, error) {
	program, err := Find()
	if err != nil {
		return Card{}, fmt.Errorf("read the firmware settings of %s: %w", slot, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-e", "-d", slot, "query").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return Card{}, fmt.Errorf("read the firmware settings of %s: %s: %w: %s", slot, program, err, firstLine(string(exit.Stderr)+string(out)))
	}
	if err != nil {
		return Card{}, fmt.Errorf("read the firmware settings of %s: %s: %w", slot, program, err)
	}
	c, err := Parse(string(out))
	if err != nil {
		return Card{}, fmt.Errorf("read the firmware settings of %s: %s: %w", slot, program, err)
	}
	return c, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
