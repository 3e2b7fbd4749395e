package host

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// volatile are files that change while a host runs, whoever does what. All others have to
// be after an undo what they were before.
var volatile = []struct{ pattern, why string }{
	{"/var/log/*", "logs"},
	{"/var/log/journal/*", "the journal"},
	{"/var/log/journal/*/*", "the journal"},
	{"/var/lib/systemd/random-seed", "written at each shutdown"},
	{"/tmp/systemd-private-*", "a service's private directory, made at each boot"},
	{"/tmp/systemd-private-*/tmp", "the same"},
	{"/var/tmp/systemd-private-*", "the same"},
	{"/var/tmp/systemd-private-*/tmp", "the same"},
}

func isVolatile(file string) bool {
	return slices.ContainsFunc(volatile, func(v struct{ pattern, why string }) bool {
		ok, err := path.Match(v.pattern, file)
		return ok && err == nil
	})
}

// differences says in words what differs between two walks, volatile files apart.
func differences(before, after map[string]entry) []string {
	var out []string
	for p, b := range before {
		a, there := after[p]
		switch {
		case isVolatile(p) || there && a == b:
		case !there:
			out = append(out, fmt.Sprintf("%s is gone: it was %s", p, b))
		default:
			out = append(out, fmt.Sprintf("%s is %s, was %s", p, a, b))
		}
	}
	for p, a := range after {
		if _, there := before[p]; !there && !isVolatile(p) {
			out = append(out, fmt.Sprintf("%s is new: %s", p, a))
		}
	}
	slices.Sort(out)
	return out
}

// same fails when the disk is not what it was.
func (m *machine) same(t *testing.T, when string, before map[string]entry) {
	t.Helper()
	after := m.walk(t, "/")
	if d := differences(before, after); len(d) > 0 {
		t.Fatalf("%s: %d of %d files are not as they were:\n%s", when, len(d), len(before), strings.Join(d[:min(len(d), 30)], "\n"))
	}
	t.Logf("%s: all %d files are as they were", when, len(after))
}

func TestDifferencesAreFound(t *testing.T) {
	file := func(p, what string) entry { return entry{Path: p, Mode: 0o100644, What: what} }
	before := map[string]entry{"/a": file("/a", "1"), "/b": file("/b", "1"), "/var/log/x": file("/var/log/x", "1"), "/c": file("/c", "1")}
	after := map[string]entry{"/a": file("/a", "1"), "/b": file("/b", "2"), "/var/log/x": file("/var/log/x", "2"), "/d": file("/d", "1")}
	mode := file("/a", "1")
	got := strings.Join(differences(before, after), "\n")
	for _, want := range []string{"/b is ", "/c is gone", "/d is new"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if strings.Contains(got, "/a") || strings.Contains(got, "/var/log") {
		t.Errorf("%q", got)
	}
	mode.Mode = 0o100600
	after["/a"] = mode
	if got = strings.Join(differences(before, after), "\n"); !strings.Contains(got, "/a is 100600") {
		t.Errorf("a change of mode: %q", got)
	}
}
