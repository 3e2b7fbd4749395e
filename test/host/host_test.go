package host

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/test/rig"
)

// The NIC of the machine that gets VFs, as udev names it.
const (
	pf   = "enp1s0"
	slot = "0000:01:00.0"
)

// changed is where everything is that a preparation changes.
var changed = []string{"/boot", "/etc", "/opt", "/root", "/usr/local", "/var/lib"}

// fresh boots a host as its administrator has it, with neutrino installed.
func fresh(t *testing.T, amd bool) *machine {
	t.Helper()
	own := filepath.Join(t.TempDir(), "disk")
	d := disk(t)
	if err := copySparse(d.image, own); err != nil {
		t.Fatal(err)
	}
	h := rig.Host{Disk: own, NICs: 2, AMD: amd}
	if amd {
		h.Kernel, h.Initrd, h.Append = d.kernel, d.initrd, bootWords+" "+noAPIC
	}
	m := boot(t, h)
	m.host.Kernel = "" // from now on its boot loader boots it
	build(t, filepath.Join(m.share, "neutrino"), "neutrino/cmd/neutrino")
	for _, unit := range []string{"neutrino-vfs.service", "neutrino-tune.service"} {
		copyFile(t, filepath.Join("../../contrib/systemd", unit), filepath.Join(m.share, unit), 0o644)
	}
	m.arrive(t)
	m.healthy(t)
	// As `make install` does.
	m.sh(t, `install -D -m 0755 /vm/neutrino /usr/local/bin/neutrino
install -m 0644 /vm/*.service /usr/lib/systemd/system/
systemctl daemon-reload
sync`)
	return m
}

// healthy says that systemd has started everything, and nothing failed.
func (m *machine) healthy(t *testing.T) {
	t.Helper()
	if state, _ := m.try(t, "systemctl is-system-running --wait"); state != "running\n" {
		out, _ := m.try(t, "systemctl --failed --no-pager; journalctl -b -p err --no-pager | tail -n 30")
		t.Fatalf("the host is %s\n%s", state, out)
	}
}

// refused runs a command that has to be refused, for a reason.
func (m *machine) refused(t *testing.T, command, reason string) {
	t.Helper()
	out, code := m.try(t, command)
	if code != 4 || !strings.Contains(out, reason) {
		t.Errorf("%s: exit code %d, want 4 and %q:\n%s", command, code, reason, out)
	}
}

// says runs a command that has to succeed, and to say something.
func (m *machine) says(t *testing.T, command string, words ...string) {
	t.Helper()
	out := m.sh(t, command)
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%s does not say %q:\n%s", command, w, out)
		}
	}
}

// unfit checks that the host is said to fail, in which checks and what mends each.
func (m *machine) unfit(t *testing.T, mends map[string]string) {
	t.Helper()
	out, code := m.try(t, "neutrino host check --pf "+pf)
	if code != 1 {
		t.Errorf("host check: exit code %d, want 1:\n%s", code, out)
	}
	for check, mend := range mends {
		_, about, _ := strings.Cut(out, ": "+check+": ")
		_, said, _ := strings.Cut(about, "mend: ")
		if said, _, _ = strings.Cut(said, "\n"); !strings.Contains(said, mend) {
			t.Errorf("host check does not say that %s is wrong, and that %q mends it:\n%s", check, mend, out)
		}
	}
}

// noAPIC is for machines with QEMU's AMD IOMMU: under emulation it loses what the I/O APIC
// sends, and each line that systemd writes to the serial console takes half a minute.
const noAPIC = "noapic"

// allowIOMMU is what the administrator does once prepare has said that a word of theirs
// keeps the IOMMU off.
const allowIOMMU = "sed -i 's/ intel_iommu=off//' /etc/default/grub && update-grub && sync"

// TestHostWithIntelIOMMU takes a host as it comes to VFs for guests, tuned, and back.
func TestHostWithIntelIOMMU(t *testing.T) {
	wanted(t)
	m := fresh(t, false)
	const prepare = "neutrino host prepare --pf " + pf + " --vfs 7"
	m.unfit(t, map[string]string{
		"iommu-enabled": "which file has intel_iommu=off", "vf-count": prepare, "vfio": prepare, "irqbalance": "neutrino tune apply",
	})
	m.refused(t, prepare+" --dry-run", "/etc/default/grub")
	m.sh(t, allowIOMMU)
	m.refused(t, "runuser -u nobody -- "+prepare+" --yes", "root")
	m.refused(t, "runuser -u nobody -- neutrino host undo --yes", "root")
	before := m.walk(t, "/")

	m.says(t, prepare+" --dry-run", "+++ /etc/default/grub.d/neutrino.cfg", "run update-grub", "reboot: needed")
	m.killedAnywhere(t, prepare+" --yes")
	m.cut(t, prepare+" --yes", "^run update-grub", 1)
	t.Log("the power was cut while the boot loader's file was written")
	m.says(t, "neutrino host undo --yes", "as it was")
	m.same(t, "after a power cut and undo", before)

	// The power goes the moment it is done: everything has to be on the disk.
	m.cut(t, prepare+" --yes", "^done", 1)
	m.healthy(t)
	m.says(t, "cat /proc/cmdline", "iommu=pt", rig.HostArgs)
	// irqbalance is what Debian brings along; it is told what to leave when the host is tuned.
	if out, code := m.try(t, "neutrino host check --pf "+pf); code != 7 || !strings.Contains(out, "a group for each VF") || !strings.Contains(out, "warn: host: irqbalance: ") || !strings.Contains(out, " 1 warn") {
		t.Errorf("host check: exit code %d, want 7 for irqbalance alone:\n%s", code, out)
	}
	m.forGuests(t)
	m.says(t, prepare+" --yes", "nothing to do")

	m.tuned(t)

	m.cut(t, "neutrino host undo --yes", "^restore", 2)
	t.Log("the power was cut in the midst of undo")
	m.says(t, "neutrino host undo --yes", "as it was")
	m.reboot(t)
	m.healthy(t)
	if out := m.sh(t, "cat /proc/cmdline /sys/bus/pci/devices/"+slot+"/sriov_numvfs"); strings.Contains(out, "iommu=pt") || !strings.HasSuffix(out, "\n0") {
		t.Errorf("after undo and a boot: %s", out)
	}
	m.same(t, "after undo and a boot", before)
	m.off(t)
}

// killedAnywhere kills a preparation at each of its steps, and undoes it.
func (m *machine) killedAnywhere(t *testing.T, prepare string) {
	t.Helper()
	before := m.walk(t, changed...)
	const step = "^(write|change|link|run|load) /?[a-z]"
	for n := 1; ; n++ {
		a := m.ask(t, order{Script: prepare, Strike: &strike{Line: step, Nth: n}})
		whole := a.Code == 0
		if !whole && a.Code != killed {
			t.Fatalf("%s: exit code %d:\n%s", prepare, a.Code, a.Out)
		}
		m.says(t, "neutrino host undo --yes", "")
		if d := differences(before, m.walk(t, changed...)); len(d) > 0 {
			t.Fatalf("killed at step %d and undone: not as it was:\n%s\nits output:\n%s", n, strings.Join(d, "\n"), a.Out)
		}
		if whole {
			t.Logf("killed at each of %d steps and undone: all %d files are as they were", n-1, len(before))
			if n < 5 {
				t.Errorf("only %d steps:\n%s", n-1, a.Out)
			}
			return
		}
	}
}

// killed is the exit code that Go has for a process that a signal ended.
const killed = -1

// forGuests checks that the VFs are there for VFIO: each with its group and its device.
func (m *machine) forGuests(t *testing.T) {
	t.Helper()
	out := m.sh(t, `set -e
n=0
for v in /sys/bus/pci/devices/`+slot+`/virtfn*; do
	[ "$(basename $(readlink $v/driver))" = vfio-pci ] || { echo "$(basename $(readlink $v)): driver $(readlink $v/driver)"; exit 1; }
	group=$(readlink -f $v/iommu_group)
	[ "$(ls $group/devices | wc -l)" = 1 ] || { echo "$group: $(ls $group/devices)"; exit 1; }
	[ -c /dev/vfio/$(basename $group) ] || { echo "no /dev/vfio/$(basename $group)"; exit 1; }
	n=$((n+1))
done
echo $n`)
	if out != "7" {
		t.Errorf("%s VFs, want 7", out)
	}
	m.beforeNetwork(t)
}

// beforeNetwork checks that VFs are made before anything configures the network.
func (m *machine) beforeNetwork(t *testing.T) {
	t.Helper()
	m.sh(t, `journalctl -b -o short-monotonic --no-pager | awk '
/Finished neutrino-vfs.service/ { vfs = NR }
/Reached target network-pre.target/ { pre = NR }
END { if (!vfs || !pre || vfs > pre) { print "vfs " vfs ", network-pre " pre; exit 1 } }'`)
}

// tuned tunes the prepared host, boots it, and undoes that.
func (m *machine) tuned(t *testing.T) {
	t.Helper()
	// What the profile sets, apart from interrupts: irqbalance moves those as well. A key and a
	// reserve are not the same at each boot.
	const state = `ethtool -k ` + pf + `; ethtool -c ` + pf + `; ethtool -g ` + pf + `; ethtool -l ` + pf + `
cd /proc/sys && grep -rs . net/core net/ipv4/tcp_rmem net/ipv4/tcp_wmem vm kernel/numa_balancing | grep -v -e rss_key -e reserve_kbytes
cd /sys && grep -s . kernel/mm/transparent_hugepage/* class/net/` + pf + `/queues/*/*ps_cpus
true`
	before := m.sh(t, state)
	m.refused(t, "runuser -u nobody -- neutrino tune apply --profile latency --yes", "root")
	files := m.walk(t, changed...)
	m.says(t, "neutrino tune apply --profile latency --pf "+pf+" --yes", "done:", "neutrino-tune.service keeps it")
	if m.sh(t, state) == before {
		t.Error("tune apply has changed nothing")
	}
	m.keeps(t, "at once")
	m.reboot(t)
	m.healthy(t)
	m.says(t, "systemctl show -p Type,ActiveState,SubState,NRestarts,WatchdogUSec neutrino-tune.service",
		"Type=notify", "ActiveState=active", "SubState=running", "NRestarts=0", "WatchdogUSec=1min")
	m.keeps(t, "after a boot")
	m.sh(t, "ip link set "+pf+" down && ip link set "+pf+" up")
	m.keeps(t, "after its link went and came")
	t.Log(m.sh(t, "neutrino tune status; neutrino numa"))
	m.says(t, "neutrino host check --strict --pf "+pf, "neutrino-tune.service tells it")
	m.says(t, "neutrino tune undo --yes", "put back")
	if after := m.sh(t, state); after != before {
		t.Errorf("tune undo: the host is not as it was:\n%s", strings.Join(onlyOnce(before, after), "\n"))
	}
	if d := differences(files, m.walk(t, changed...)); len(d) > 0 {
		t.Errorf("tune undo leaves:\n%s", strings.Join(d, "\n"))
	}
}

// onlyOnce lists the lines that one text has and the other has not.
func onlyOnce(before, after string) []string {
	var out []string
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			out = append(out, "was "+strings.TrimSpace(line))
		}
	}
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			out = append(out, "is "+strings.TrimSpace(line))
		}
	}
	return out
}

// keeps waits until everything is as the profile wants it, the interrupts of the NIC
// first, as the kernel has them.
func (m *machine) keeps(t *testing.T, when string) {
	t.Helper()
	out, code := m.try(t, `for try in $(seq 60); do
	said=$(neutrino tune check --pf `+pf+` --profile latency --strict) && exit 0
	sleep 1
done
echo "$said"; journalctl -b --no-pager -u neutrino-tune.service | tail -n 20; exit 1`)
	if code != 0 {
		t.Errorf("%s it is not tuned:\n%s", when, out)
	}
	cpus := m.sh(t, `for i in /sys/class/net/`+pf+`/device/msi_irqs/*; do cat /proc/irq/$(basename $i)/smp_affinity_list; done`)
	one := 0
	for line := range strings.Lines(cpus) {
		if !strings.ContainsAny(strings.TrimSpace(line), "-,") {
			one++
		}
	}
	if one < 2 {
		t.Errorf("%s the interrupts of %s are on CPUs\n%s", when, pf, cpus)
	}
}

// TestHostWithAMDIOMMU is the same way for VFs that the host keeps, on the other kind of
// IOMMU.
func TestHostWithAMDIOMMU(t *testing.T) {
	wanted(t)
	m := fresh(t, true)
	m.unfit(t, map[string]string{"kernel-cmdline": "neutrino host prepare", "vf-count": "neutrino host prepare --pf " + pf})
	m.sh(t, "systemctl disable --now irqbalance; sed -i 's/ intel_iommu=off/ "+noAPIC+"/' /etc/default/grub && update-grub && sync")
	before := m.walk(t, "/")
	prepare := fmt.Sprintf("neutrino host prepare --pf %s --vfs 3 --mode both --yes", pf)
	m.cut(t, prepare, "^done", 1)
	m.healthy(t)
	m.says(t, "cat /proc/cmdline; ls /sys/class/iommu", "iommu=pt", "ivhd0")
	m.says(t, "neutrino host check --strict --pf "+pf, "a group for each VF")
	m.says(t, "lsmod", "macvtap", "vfio_pci")
	if n := m.sh(t, "ls -d /sys/bus/pci/devices/"+slot+"/virtfn*/net/* | wc -l"); n != "3" {
		t.Errorf("%s VFs with a netdev, want 3", n)
	}
	m.beforeNetwork(t)
	// udev keeps everybody from the VFs, and from nothing else.
	m.sh(t, `set -e
for n in /sys/bus/pci/devices/`+slot+`/virtfn*/net/*; do
	udevadm test $n 2>/dev/null | grep -qx NM_UNMANAGED=1
	udevadm info -q property $n | grep -qx NM_UNMANAGED=1
done
! udevadm info -q property /sys/class/net/`+pf+` | grep NM_UNMANAGED`)
	// A VF can go to a guest: it is alone in its group.
	m.sh(t, `set -e
v=$(readlink -f /sys/bus/pci/devices/`+slot+`/virtfn0)
echo vfio-pci > $v/driver_override
echo ${v##*/} > $v/driver/unbind
echo ${v##*/} > /sys/bus/pci/drivers_probe
[ -c /dev/vfio/$(basename $(readlink $v/iommu_group)) ]
echo > $v/driver_override
echo ${v##*/} > $v/driver/unbind
echo ${v##*/} > /sys/bus/pci/drivers_probe`)
	m.says(t, "neutrino host undo --yes", "as it was")
	m.reboot(t)
	m.healthy(t)
	m.same(t, "after undo and a boot", before)
	m.off(t)
}
