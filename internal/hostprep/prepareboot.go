package hostprep

import (
	"context"
	"path"
	"slices"
	"strings"

	"neutrino/contrib/systemd"
	"neutrino/internal/ledger"
)

// planVFs plans what can be done with VFs before the next boot.
func (p *Preparation) planVFs(ctx context.Context) error {
	pf, w := p.pf, p.want
	switch {
	case p.nic.PF == nil || w.VFs > pf.TotalVFs:
		return nil // the firmware comes first
	case pf.Driver == mlx4Module && (pf.NumVFs != w.VFs || w.Mode != HostDev):
		return nil // its options come first, or are all that it takes
	case w.Mode == HostDev && !p.host.iommu(pf):
		p.note("the VFs come with the reboot: without an IOMMU vfio-pci takes none")
		if len(p.Reboot) == 0 {
			p.reboot("the IOMMU is not in use by the running kernel")
		}
		return nil
	case !pf.Settable && pf.Driver != mlx4Module:
		p.note("the VFs come with the reboot: driver %q does not take their number now", pf.Driver)
		p.reboot("driver %q does not take the number of VFs now", pf.Driver)
		return nil
	}
	plan, err := PlanVFs(ctx, p.host, Want{
		PF: pf.Slot, N: w.VFs, Driver: w.Mode.driver(), Autoprobe: true, ManagementToo: w.ManagementToo, sparing: pf.NumVFs == w.VFs,
	})
	if err != nil {
		return err
	}
	p.Notes = append(p.Notes, plan.Findings...)
	p.VFs = &plan
	return nil
}

// planBoot has the VFs made at each boot.
func (p *Preparation) planBoot(context.Context) error {
	pf, mac := p.pf, p.host.mac(p.pf)
	dir := strings.TrimPrefix(p.host.dir(), strings.TrimSuffix(p.host.path(), "/")+"/")
	mine := path.Join(dir, p.Slot+".conf")
	if pf.Driver == mlx4Module && p.want.Mode != HostDev {
		p.remove(mine, "the options of mlx4_core make its VFs at each boot")
	} else {
		r := Record{PF: p.PF, Slot: p.Slot, MAC: mac, Count: p.want.VFs, Driver: p.want.Mode.driver(), Autoprobe: true, ManagementToo: p.want.ManagementToo}
		p.write(mine, "VFs at each boot", r.Text())
		p.planUnit()
	}
	slots, err := p.host.slots()
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if r, _, rerr := p.host.record(slot); rerr == nil && slot != p.Slot && mac != "" && r.MAC == mac {
			p.remove(path.Join(dir, slot+".conf"), "the card is not in that slot any more")
		}
	}
	return nil
}

var unitDirs = []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// planUnit has the unit installed, and started at each boot.
func (p *Preparation) planUnit() {
	t := p.Tree
	at := path.Join(unitDirs[0], systemd.VFsName)
	if i := slices.IndexFunc(unitDirs, func(dir string) bool { return t.Exists(dir, systemd.VFsName) }); i >= 0 {
		at = path.Join(unitDirs[i], systemd.VFsName)
	}
	s, _ := t.Service(systemd.VFsName)
	if s.Masked {
		p.note("%s is masked, so VFs do not come at boot: systemctl unmask %s", systemd.VFsName, systemd.VFsName)
		return
	}
	if text, there := t.Bytes(at); !there || strings.HasPrefix(string(text), writtenBy) {
		p.write(at, "the unit that makes them", writtenBy+strings.ReplaceAll(systemd.VFs, "/usr/local/bin/neutrino", p.binary()))
	}
	if !s.Enabled {
		p.put(ledger.Change{
			Path: path.Join(unitDirs[0], "multi-user.target.wants", systemd.VFsName), Why: "the unit is enabled",
			Want: ledger.Content{Kind: ledger.Symlink, Target: "/" + at},
		})
	}
}

// binary is what the unit starts.
func (p *Preparation) binary() string {
	at := p.host.binary()
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/run/", "/home/", "/root/", "/dev/"} {
		if strings.HasPrefix(at, dir) {
			p.note("%s starts %s at boot: put neutrino where it stays, /usr/local/bin say, and prepare again", systemd.VFsName, at)
			break
		}
	}
	return at
}

// planExclusions keeps NetworkManager and networkd from VFs: they are their ports'. A VF is known by its PF's
// PCI address, which stays when somebody renames the PF.
func (p *Preparation) planExclusions(context.Context) error {
	p.write("etc/udev/rules.d/70-neutrino-"+p.Slot+".rules", "VFs belong to their ports", writtenBy+
		"# VFs of "+p.PF+": neither NetworkManager nor systemd-networkd is to give them addresses.\n"+
		`SUBSYSTEM=="net", ACTION!="remove", ATTR{device/physfn/uevent}=="*PCI_SLOT_NAME=`+p.Slot+`*", ENV{NM_UNMANAGED}="1", ENV{NEUTRINO_VF}="1"`+"\n")
	if s, ok := p.Tree.Service("systemd-networkd.service"); ok && (s.Enabled || s.Running) {
		p.write("etc/systemd/network/05-neutrino-vfs.network", "VFs belong to their ports", writtenBy+"[Match]\nProperty=NEUTRINO_VF=1\n\n[Link]\nUnmanaged=yes\n")
	}
	return nil
}
