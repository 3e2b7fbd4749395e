package config

import (
	"strings"
	"testing"
)

func TestTableIsSound(t *testing.T) {
	seen := map[Name]bool{}
	claim := func(n Name) {
		if seen[n] {
			t.Errorf("%s is declared twice", n)
		}
		seen[n] = true
		if n.Section != def && n.Section != strings.ToLower(n.Section) || strings.Contains(n.Option, "-") {
			t.Errorf("%s is not in its normal form", n)
		}
	}
	for _, o := range Options() {
		claim(o.Name)
		for _, n := range append(o.Aliases, o.Old...) {
			claim(n)
		}
		if !o.Acted() {
			if o.Reason == "" || o.Kind != Opaque || o.Default != "" {
				t.Errorf("%s: an option that is not acted on needs a reason, and nothing else", o.Name)
			}
			continue
		}
		if o.Reason != "" || !strings.HasSuffix(o.Help, ".") {
			t.Errorf("%s: help %q, reason %q", o.Name, o.Help, o.Reason)
		}
		if o.Sample != "" {
			if _, err := o.parse(o.Sample); err != nil {
				t.Errorf("%s: sample %q: %v", o.Name, o.Sample, err)
			}
		}
		value, err := o.parse(o.Default)
		if err != nil && o.Default != "" {
			t.Errorf("%s: default %q: %v", o.Name, o.Default, err)
		}
		if !store(o.into(new(Config)), value) {
			t.Errorf("%s: a %T does not fit its field", o.Name, value)
		}
	}
	if _, err := Defaults(); err != nil {
		t.Errorf("Defaults: %v", err)
	}
}

func TestExampleFilesAreCurrent(t *testing.T) {
	for role, file := range map[Role]string{Controller: "controller.conf", Agents: "agent.conf"} {
		golden(t, "../../etc/neutrino/"+file, Example(role))
		_, warnings := mustLoad(t, "../../etc/neutrino/"+file)
		if len(warnings) > 0 {
			t.Errorf("%s: %v", file, warnings)
		}
	}
}

func TestExampleWithEveryOptionSetLoads(t *testing.T) {
	for _, role := range []Role{Controller, Agents} {
		var b strings.Builder
		for line := range strings.Lines(Example(role)) {
			if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
				line = line[1:]
			}
			b.WriteString(line)
		}
		if _, _, err := Load([]string{write(t, b.String())}); err != nil {
			t.Errorf("%v: %v", role, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"type_drivers", "path_mtu", "debug"}
	for meant, want := range map[string]string{
		"type_driver": "type_drivers", "tpye_drivers": "type_drivers", "PATH_MTU": "path_mtu",
		"debgu": "debug", "xyz": "", "": "",
	} {
		if got, _ := nearest(meant, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", meant, got, want)
		}
	}
}
