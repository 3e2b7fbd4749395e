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
	case word == "FAIL" && strings.HasPrefix(rest, t.pkg):
		t.cutShort()
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
