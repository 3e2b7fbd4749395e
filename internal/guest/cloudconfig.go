package guest

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

type writeFile struct {
	Path        string `yaml:"path"`
	Permissions string `yaml:"permissions"`
	Content     string `yaml:"content"`
}

type cloudConfig struct {
	BootCmd    [][]string  `yaml:"bootcmd"`
	WriteFiles []writeFile `yaml:"write_files"`
	RunCmd     [][]string  `yaml:"runcmd"`
}

// CloudConfig says what Make says as user data for cloud-init, for a guest whose network one of these
// managers configures. It serves images that cannot be changed: drivers are loaded as soon as cloud-init
// begins (bootcmd), at each boot; files are there from the first boot on. User data that comes over the very
// network that needs the driver comes too late: it has to be on a config drive.
func CloudConfig(f Facts) (string, error) {
	m := Make(f)
	c := cloudConfig{}
	for _, d := range Drivers {
		c.BootCmd = append(c.BootCmd, []string{"sh", "-c", "modprobe -q " + d + " || true"})
	}
	for _, x := range m.Files {
		c.WriteFiles = append(c.WriteFiles, writeFile{"/" + x.Path, fmt.Sprintf("%04o", x.Want.Mode.Perm()), string(x.Want.Data)})
	}
	c.RunCmd = [][]string{{"udevadm", "control", "--reload"}}
	for _, manager := range f.Managers {
		c.RunCmd = append(c.RunCmd, takeUp[manager]...)
	}
	for _, p := range m.Makers {
		c.RunCmd = append(c.RunCmd, p.Argv)
	}
	var b strings.Builder
	b.WriteString("#cloud-config\n# Written by: neutrino guest cloud-config\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c); err != nil {
		return "", fmt.Errorf("write the cloud-config: %w", err)
	}
	return b.String(), e.Close()
}

// takeUp has a manager, which runs by then, take up its new files in the first boot.
var takeUp = map[Manager][][]string{
	Networkd:       {{"networkctl", "reload"}},
	NetworkManager: {{"nmcli", "connection", "reload"}},
	Netplan:        {{"netplan", "apply"}},
	Ifupdown:       {{"ifup", "-a", "--allow=hotplug"}},
}

// FactsFor are those of a guest that is only known by what configures its network.
func FactsFor(which Manager, initramfs string) (Facts, error) {
	f := Facts{Managers: []Manager{which}, Initramfs: initramfs, Interfaces: "source /etc/network/interfaces.d/*\n"} // as Debian's cloud images have it
	switch which {
	case Networkd, NetworkManager, Netplan, Ifupdown:
	default:
		return Facts{}, fmt.Errorf("manager %.40q: allowed are %s, %s, %s and %s", which, Networkd, NetworkManager, Netplan, Ifupdown)
	}
	return f, nil
}
