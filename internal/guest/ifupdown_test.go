package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                   false,
		"source":                             false,
		"source /etc/network/interfaces.d/*": true,
		"auto lo\n  source interfaces.d/*\n": true,
		"source /etc/network/interfaces.d/*.conf\n":  false,
		"source-directory /etc/network/interfaces.d": true,
		"source-directory interfaces.d\n":            true,
		"source-directory /etc/network\n":            false,
		"#source /etc/network/interfaces.d/*\n":      false,
		"source /etc/network/[\n":                    false,
		"source /a /etc/network/interfaces.d/n*":     true,
	} {
		if got := sources(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A NIC with a stanza of its own keeps it; every other is configured as ours.
func TestNameScript(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"interfaces": "auto ens3\niface ens3 inet static\n\taddress 10.0.0.5/24\nsource interfaces.d/*\n", "interfaces.d/last": "iface ens5 inet dhcp"} {
		p := filepath.Join(dir, name)
		if err = os.MkdirAll(filepath.Dir(p), 0o755); err == nil {
			err = os.WriteFile(p, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	script := strings.ReplaceAll(nameScript, "/etc/network/", dir+"/")
	for nic, want := range map[string]string{"ens3": "ens3", "ens5": "ens5", "ens": "neutrino", "ens33": "neutrino", "eth0": "neutrino", "ens3 inet": "neutrino"} {
		out, rerr := exec.Command(sh, "-c", script, "ifup", nic).Output()
		if got := strings.TrimSpace(string(out)); rerr != nil || got != want {
			t.Errorf("%s is configured as %q, want %q: %v", nic, got, want, rerr)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add("source /etc/network/interfaces.d/*\n")
	f.Add("source-directory interfaces.d\nsource [")
	f.Fuzz(func(t *testing.T, text string) {
		var m Made
		if m.ifupdown(text); text == "" {
			return
		}
		// After the fix ours is read, and a second fix changes nothing more.
		for _, c := range m.Files {
			if c.Path != interfacesFile {
				continue
			}
			if got := string(c.Want.Data); !strings.HasPrefix(got, text) || !sources(got) {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}
