package machine

import (
	"slices"
	"strings"
)

// Families of operating systems, by how they are administered.
const (
	Debian = "debian" // and Ubuntu
	RedHat = "rhel"   // and Fedora, CentOS, Rocky, Alma, Oracle
	SUSE   = "suse"
)

// OS is what os-release says.
type OS struct {
	ID      string // "debian", "ubuntu", "rhel", "rocky", ...
	Version string // VERSION_ID
	Name    string // for people
	Family  string // Debian, RedHat, SUSE; "" = another, or not known
}

func (t Tree) os() OS {
	text, ok := t.Text("etc/os-release")
	if !ok {
		text, _ = t.Text("usr/lib/os-release")
	}
	return ParseOSRelease(text)
}

// ParseOSRelease reads the text of os-release: lines NAME=value, the value quoted as a
// shell does it. Lines that are none are passed over.
func ParseOSRelease(text string) OS {
	v := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			v[key] = unquote(value)
		}
	}
	o := OS{ID: strings.ToLower(v["ID"]), Version: v["VERSION_ID"], Name: v["PRETTY_NAME"]}
	if o.Name == "" {
		o.Name = strings.TrimSpace(v["NAME"] + " " + o.Version)
	}
	like := append([]string{o.ID}, strings.Fields(strings.ToLower(v["ID_LIKE"]))...)
	for _, f := range []struct {
		family string
		ids    []string
	}{
		{Debian, []string{"debian", "ubuntu"}},
		{RedHat, []string{"rhel", "fedora", "centos", "rocky", "almalinux", "ol"}},
		{SUSE, []string{"suse", "opensuse", "sles"}},
	} {
		if slices.ContainsFunc(like, func(id string) bool { return slices.Contains(f.ids, id) }) {
			o.Family = f.family
			break
		}
	}
	return o
}

// unquote takes the shell's quotes off a value.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' && s[0] != '\'' || s[len(s)-1] != s[0] {
		return s
	}
	quote, s := s[0], s[1:len(s)-1]
	if quote == '\'' {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`", s[i+1]) >= 0 {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
