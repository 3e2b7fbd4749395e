package hostcheck

import (
	"fmt"
	"strings"
)

// Words of files that keep others off what is neutrino's. Look searches for them.
const (
	wordUnmanaged = "unmanaged"    // NetworkManager: unmanaged-devices; udev: NM_UNMANAGED; networkd: Unmanaged=yes
	wordBanned    = "banirq"       // irqbalance: --banirq
	wordPolicy    = "policyscript" // irqbalance: --policyscript
	wordVFs       = "sriov_numvfs"
	wordOFEDVFs   = "mlx5_num_vfs"
	wordNetplan   = "virtual-function-count"
	wordAffinity  = "set_irq_affinity"
	wordTune      = "mlnx_tune"
)

// scripts are the files that have one of the words.
func (f *Facts) scripts(words ...string) []string {
	var out []string
	for _, s := range f.Scripts {
		for _, w := range words {
			if s.Word == w {
				out = append(out, s.File)
			}
		}
	}
	return out
}

func networkManager(f *Facts) []verdict {
	var run []string
	for _, n := range []string{"NetworkManager.service", "systemd-networkd.service"} {
		if f.Services[n].Running {
			run = append(run, strings.TrimSuffix(n, ".service"))
		}
	}
	if len(run) == 0 {
		return ok("neither NetworkManager nor systemd-networkd runs")
	}
	if f.noNetdevs() {
		return ok("%s, and VFs are no network devices here", strings.Join(run, " and "))
	}
	if files := f.scripts(wordUnmanaged); len(files) > 0 {
		return ok("%s, kept off by %s", strings.Join(run, " and "), list(files))
	}
	if run[0] == "systemd-networkd" && len(f.scripts(wordAnyLink)) == 0 {
		return ok("systemd-networkd, whose files name their devices")
	}
	return warn(f.prepareHost(), "%s runs, and nothing keeps it off VFs", strings.Join(run, " and "))
}

// wordAnyLink stands for a .network file that matches devices by a pattern.
const wordAnyLink = "Name=*"

// noNetdevs reports whether VFs are for guests alone: those that are made at boot, and
// those that are there, have vfio-pci or no driver.
func (f *Facts) noNetdevs() bool {
	vfs := 0
	for _, pf := range f.pfs() {
		if r, recorded := f.Records[pf.Slot]; recorded && r.Driver == "" && r.Autoprobe {
			return false
		}
		for _, v := range f.vfs(pf) {
			if vfs++; len(v.Interfaces) > 0 {
				return false
			}
		}
	}
	return vfs > 0
}

func irqbalance(f *Facts) []verdict {
	s := f.Services["irqbalance.service"]
	switch {
	case !s.Running && !s.Enabled:
		return ok("does not run")
	case len(f.scripts(wordBanned, wordPolicy)) > 0:
		return ok("runs, and is told which interrupts to leave alone (%s)", list(f.scripts(wordBanned, wordPolicy)))
	case f.Services["neutrino-tune.service"].Running:
		return ok("runs, and neutrino-tune.service tells it which interrupts to leave alone")
	case !s.Running:
		return warn("neutrino tune apply --profile throughput; or: systemctl disable irqbalance", "does not run now, and is started at boot")
	}
	return warn("neutrino tune apply --profile throughput; or: systemctl disable --now irqbalance", "runs, and may move every interrupt")
}

// agents program VFs as neutrino's agent does.
var agents = []string{
	"eswitchd.service", "neutron-mlnx-agent.service", "mlnx-agent.service", "neutron-sriov-nic-agent.service",
	"neutron-sriov-agent.service", "sriov-config.service", "mlnx_interface_mgr.service",
}

func otherAgents(f *Facts) []verdict {
	var run, start []string
	for _, n := range agents {
		switch s := f.Services[n]; {
		case s.Running:
			run = append(run, n)
		case s.Enabled:
			start = append(start, n)
		}
	}
	mend := "systemctl disable --now " + strings.Join(append(append([]string{}, run...), start...), " ")
	switch ours := f.Services["neutrino-agent.service"].Running || f.Agent; {
	case len(run) > 0 && ours:
		return fail(mend, "%s runs beside neutrino-agent", list(run))
	case len(run) > 0:
		return warn(mend, "%s runs", list(run))
	case len(start) > 0:
		return warn(mend, "%s is started at boot", list(start))
	}
	return ok("none")
}

func bootScripts(f *Facts) []verdict {
	var out []string
	for _, s := range f.Scripts {
		switch s.Word {
		case wordVFs, wordOFEDVFs, wordNetplan, wordAffinity, wordTune:
			out = append(out, fmt.Sprintf("%s (%s)", s.File, s.Word))
		}
	}
	if len(out) == 0 {
		return ok("none")
	}
	return warn("take these lines out: neutrino host vfs set, and neutrino tune, do it at boot", "%s", list(out))
}
