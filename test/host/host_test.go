package host

import (
	"path/filepath"
	"testing"

	"neutrino/test/rig"
)

// The NICs with SR-IOV of the machine, as udev names them.
const (
	pf   = "enp1s0"
	slot = "0000:01:00.0"
)

// fresh boots a host as its administrator has it, with neutrino installed.
func fresh(t *testing.T, amd bool) *machine {
	t.Helper()
	own := filepath.Join(t.TempDir(), "disk")
	if err := copySparse(disk(t), own); err != nil {
		t.Fatal(err)
	}
	m := boot(t, rig.Host{Disk: own, NICs: 2, AMD: amd})
	build(t, filepath.Join(m.share, "neutrino"), "neutrino/cmd/neutrino")
	for _, unit := range []string{"neutrino-vfs.service", "neutrino-tune.service"} {
		copyFile(t, filepath.Join("../../contrib/systemd", unit), filepath.Join(m.share, unit), 0o644)
	}
	m.arrive(t)
	// As `make install` does.
	m.sh(t, `install -D -m 0755 /vm/neutrino /usr/local/bin/neutrino
install -m 0644 /vm/*.service /usr/lib/systemd/system/
systemctl daemon-reload
sync`)
	return m
}

func TestVFsComeBackAtBootAndGoWithoutATrace(t *testing.T) {
	wanted(t)
	m := fresh(t, false)
	before := m.walk(t)
	m.sh(t, "systemctl enable neutrino-vfs.service && sync")
	m.cut(t, "neutrino host vfs set "+pf+" 7 --yes", "^done$", 1)
	m.healthy(t)
	if n := m.sh(t, "ls -d /sys/class/net/"+pf+"/device/virtfn* | wc -l"); n != "7" {
		t.Errorf("%s VFs after the boot, want 7:\n%s", n, m.sh(t, "journalctl -b -u neutrino-vfs.service"))
	}
	// The service is ordered: VFs were there before the network came up.
	m.sh(t, `journalctl -b -o short-monotonic --no-pager | awk '
/Finished neutrino-vfs.service/ { vfs = NR }
/Reached target network-pre.target/ { pre = NR }
END { if (!vfs || !pre || vfs > pre) { print "vfs " vfs ", network-pre " pre; exit 1 } }'`)
	m.kill(t, "neutrino host vfs set "+pf+" 0 --yes", "^1[.]", 1)
	m.sh(t, "systemctl disable neutrino-vfs.service && neutrino host vfs set "+pf+" 0 --yes")
	m.reboot(t)
	m.same(t, "without VFs", before)
	m.off(t)
}

// healthy says that systemd has started everything, and nothing failed.
func (m *machine) healthy(t *testing.T) {
	t.Helper()
	if state, _ := m.try(t, "systemctl is-system-running --wait"); state != "running\n" {
		out, _ := m.try(t, "systemctl --failed --no-pager; journalctl -b -p err --no-pager | tail -n 30")
		t.Fatalf("the host is %s\n%s", state, out)
	}
}
