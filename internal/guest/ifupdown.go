package guest

import (
	"path"
	"strings"
)

const (
	interfacesFile = "etc/network/interfaces"
	stanzaFile     = "etc/network/interfaces.d/neutrino"
	nameFile       = "etc/network/neutrino-name"
)

// stanza asks for addresses on hotplugged NICs, which nothing waits for. A pattern with a logical name
// (/en*=neutrino) would do for `ifup -a` only: udev's helper names the NIC, and ifup then knows no such interface.
const stanza = by + `allow-hotplug /en* /eth*
mapping en* eth*
	script /` + nameFile + `
iface neutrino inet dhcp
iface neutrino inet6 auto
`

// nameScript is asked by ifup how a NIC is to be configured.
const nameScript = "#!/bin/sh\n" + by + `# A NIC that has a stanza of its own is configured by that.
for f in /etc/network/interfaces /etc/network/interfaces.d/*; do
	[ -f "$f" ] || continue
	while read -r word name _ || [ -n "$word" ]; do
		if [ "$word $name" = "iface $1" ]; then
			echo "$1"
			exit 0
		fi
	done < "$f"
done
echo neutrino
`

// ifupdown adds to /etc/network/interfaces only where that does not read interfaces.d.
func (m *Made) ifupdown(interfaces string) {
	m.add(stanzaFile, whyDHCP, 0o644, stanza)
	m.add(nameFile, whyDHCP, 0o755, nameScript)
	if interfaces == "" {
		m.Notes = append(m.Notes, "/"+interfacesFile+" is empty, or no file of this tree: have it say: source /etc/network/interfaces.d/*")
		return
	}
	if !sources(interfaces) {
		if !strings.HasSuffix(interfaces, "\n") {
			interfaces += "\n"
		}
		m.add(interfacesFile, whyDHCP, 0o644, interfaces+"\n"+by+"source /"+stanzaFile+"\n")
	}
}

// sources reports whether a file of interfaces reads ours.
func sources(interfaces string) bool {
	for line := range strings.Lines(interfaces) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "source" && f[0] != "source-directory" {
			continue
		}
		for _, what := range f[1:] {
			if !path.IsAbs(what) {
				what = path.Join("/etc/network", what)
			}
			if f[0] == "source-directory" {
				what = path.Join(what, "*")
			}
			if ok, err := path.Match(what, "/"+stanzaFile); ok && err == nil {
				return true
			}
		}
	}
	return false
}
