package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// tally passes the machine's console on, and keeps what it says of tests.
type tally struct {
	to              io.Writer
	pkg             string
	running         []string // begun in pkg and not ended
	failed, skipped []string
	done            map[string]bool // packages that ran to their end
}

var (
	runLine     = regexp.MustCompile(`^=== RUN +(Test[^\s/]*)$`)
	verdictLine = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+)`)
)

// Write takes one line.
func (t *tally) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	word, rest, _ := strings.Cut(text, "\t")
	switch pkg, begins := strings.CutPrefix(text, "=== PACKAGE "); {
	case begins:
		t.cutShort()
		t.pkg = pkg
	case word == "ok" && strings.HasPrefix(rest, t.pkg):
		t.running = nil
		t.end()
	case word == "FAIL" && strings.HasPrefix(rest, t.pkg):
		t.cutShort()
		t.end()
	}
	if m := runLine.FindStringSubmatch(text); m != nil {
		t.running = append(t.running, m[1])
	}
	if m := verdictLine.FindStringSubmatch(text); m != nil {
		t.running = slices.DeleteFunc(t.running, func(name string) bool { return name == m[2] })
		switch name := t.pkg + "." + m[2]; m[1] {
		case "FAIL":
			t.failed = append(t.failed, name)
		case "SKIP":
			t.skipped = append(t.skipped, name)
		}
	}
	return t.to.Write(line)
}

func (t *tally) end() {
	if t.done == nil {
		t.done = map[string]bool{}
	}
	t.done[t.pkg] = true
}

// left is a script without the packages that have run to their end.
func (t *tally) left(script string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "package" && t.done[words[1]] {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// again forgets what was running when the machine stood still: it will be run again. What
// failed before that stays failed.
func (t *tally) again() { t.running, t.pkg = nil, "" }

// cutShort takes for failed what has begun and will not end any more: its package ran
// out of time or crashed, or the machine went down.
func (t *tally) cutShort() {
	for _, name := range t.running {
		t.failed = append(t.failed, t.pkg+"."+name+" (it did not end)")
	}
	t.running = nil
}

// strict says that nothing may be skipped: RIG_STRICT, which CI sets.
func strict() bool { return os.Getenv("RIG_STRICT") != "" }

// verdict is the end of a run in which this many packages failed. It says last what is
// hard to find in what a console has carried.
func (t *tally) verdict(packages int) error {
	t.cutShort()
	for _, name := range t.skipped {
		fmt.Fprintln(t.to, "skipped:", name)
	}
	for _, name := range t.failed {
		fmt.Fprintln(t.to, "failed:", name)
	}
	switch {
	case packages == cannotSetUp:
		return errors.New("the machine has no SR-IOV NICs, or lacks a module: see the console above")
	case packages != 0:
		return fmt.Errorf("%d packages failed", packages)
	case len(t.failed) > 0: // whatever the exit code was
		return fmt.Errorf("%d tests failed", len(t.failed))
	case len(t.skipped) > 0 && strict():
		return fmt.Errorf("%d tests were skipped, and RIG_STRICT is set", len(t.skipped))
	}
	return nil
}
