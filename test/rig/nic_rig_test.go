package rig_test

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"neutrino/test/rig"
)

// These tests say what the machine's NICs are, so that a failure elsewhere is not the
// rig's. They run in it, by make test-sriov.

// nics returns the names of the PFs.
func nics(t *testing.T) []string {
	t.Helper()
	names := os.Getenv("NEUTRINO_SRIOV_PFS")
	if names == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it by make test-sriov")
	}
	return strings.Split(names, ",")
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// target is the last element of a link's target, "" if there is no such link.
func target(t *testing.T, path ...string) string {
	t.Helper()
	to, err := os.Readlink(filepath.Join(path...))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(to)
}

const devices = "/sys/bus/pci/devices"

// slot is the PCI slot of a VF.
func slot(t *testing.T, pf string, vf int) string {
	t.Helper()
	s := target(t, "/sys/class/net", pf, "device/virtfn"+strconv.Itoa(vf))
	if s == "" {
		t.Fatalf("%s has no VF %d", pf, vf)
	}
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// bind gives a VF to a driver by its name (driver_override,
// Documentation/ABI/testing/sysfs-bus-pci), whatever it is bound to.
func bind(t *testing.T, slot, driver string) {
	t.Helper()
	write := func(text string, path ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path...), []byte(text), 0o200); err != nil {
			t.Fatal(err)
		}
	}
	if target(t, devices, slot, "driver") != "" {
		write(slot, devices, slot, "driver/unbind")
	}
	write(driver+"\n", devices, slot, "driver_override")
	write(slot, "/sys/bus/pci/drivers_probe")
	write("\n", devices, slot, "driver_override")
	eventually(t, slot+" is bound to "+driver, func() bool { return target(t, devices, slot, "driver") == driver })
}

// netdev waits for the network interface of a VF.
func netdev(t *testing.T, slot string) (name string) {
	t.Helper()
	eventually(t, slot+" has a network interface", func() bool {
		names, err := filepath.Glob(filepath.Join(devices, slot, "net/*"))
		if err != nil || len(names) == 0 {
			return false
		}
		name = filepath.Base(names[0])
		return true
	})
	return name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs iproute2: apt-get install iproute2")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// program sets a VF's MAC and VLAN through its PF, and takes them back with the test.
func program(t *testing.T, pf string, vf int, mac, vlan string) {
	t.Helper()
	n := strconv.Itoa(vf)
	ip(t, "link", "set", pf, "vf", n, "mac", mac, "vlan", vlan, "spoofchk", "on")
	t.Cleanup(func() {
		ip(t, "link", "set", pf, "vf", n, "mac", "00:00:00:00:00:00", "vlan", "0")
		bind(t, slot(t, pf, vf), "igbvf")
	})
}

// station puts a VF that carries this MAC and VLAN into a namespace of its own.
func station(t *testing.T, pf string, vf int, mac, vlan, addr string) (space string) {
	t.Helper()
	program(t, pf, vf, mac, vlan)
	s := slot(t, pf, vf)
	bind(t, s, "igbvf")
	dev := netdev(t, s)
	if got := read(t, "/sys/class/net", dev, "address"); got != mac {
		t.Fatalf("%s: MAC %s after binding, its PF gave it %s", dev, got, mac)
	}
	space = "rig-" + pf + "-" + strconv.Itoa(vf)
	ip(t, "netns", "add", space)
	t.Cleanup(func() { ip(t, "netns", "del", space) })
	ip(t, "link", "set", dev, "netns", space)
	ip(t, "-n", space, "addr", "add", addr, "dev", dev)
	ip(t, "-n", space, "link", "set", dev, "up")
	return space
}

// reach waits until an address answers: a link of a loaded machine takes seconds to come up.
func reach(t *testing.T, space, addr string) {
	t.Helper()
	eventually(t, space+" reaches "+addr, func() bool { return answers(space, addr) })
}

func answers(space, addr string) bool {
	return exec.Command("ip", "netns", "exec", space, "/bin/busybox", "ping", "-c", "3", "-W", "1", addr).Run() == nil
}

func TestRigPFsHaveSevenVFsEachInAnIOMMUGroupOfItsOwn(t *testing.T) {
	groups := map[string]string{}
	pfs := nics(t)
	if len(pfs) != 2 {
		t.Fatalf("%d PFs: %v", len(pfs), pfs)
	}
	for _, pf := range pfs {
		if n := read(t, "/sys/class/net", pf, "device/sriov_totalvfs"); n != "7" {
			t.Errorf("%s has room for %s VFs", pf, n)
		}
		if n := read(t, "/sys/class/net", pf, "device/sriov_numvfs"); n != "7" {
			t.Errorf("%s has %s VFs", pf, n)
		}
		for vf := range 7 {
			s := slot(t, pf, vf)
			g := target(t, devices, s, "iommu_group")
			if g == "" || groups[g] != "" {
				t.Errorf("VF %s is in IOMMU group %q, with %q", s, g, groups[g])
			}
			groups[g] = s
		}
	}
}

func TestRigVFIsBoundToVFIOByItsOverride(t *testing.T) {
	s := slot(t, nics(t)[0], 5)
	bind(t, s, "vfio-pci")
	if _, err := os.Stat("/dev/vfio/" + target(t, devices, s, "iommu_group")); err != nil {
		t.Error(err)
	}
	bind(t, s, "igbvf")
	netdev(t, s)
}

func TestRigVFsOfOneVLANAnswerOthersDoNot(t *testing.T) {
	pfs := nics(t)
	a := station(t, pfs[0], 0, "02:00:00:00:00:10", "77", "10.77.0.1/24")
	station(t, pfs[0], 1, "02:00:00:00:00:11", "77", "10.77.0.2/24")
	station(t, pfs[1], 0, "02:00:00:00:01:10", "77", "10.77.0.3/24")
	other := station(t, pfs[0], 2, "02:00:00:00:00:12", "88", "10.77.0.4/24")
	reach(t, a, "10.77.0.2")
	reach(t, a, "10.77.0.3")
	if answers(a, "10.77.0.4") || answers(other, "10.77.0.2") {
		t.Error("VLANs 77 and 88 reach each other")
	}
}

func TestRigVFDriverKeepsItsOldMACUntilItIsBoundAgain(t *testing.T) {
	pf := nics(t)[0]
	a := station(t, pf, 0, "02:00:00:00:00:10", "77", "10.77.0.1/24")
	b := station(t, pf, 1, "02:00:00:00:00:11", "77", "10.77.0.2/24")
	reach(t, b, "10.77.0.1")
	ip(t, "link", "set", pf, "vf", "1", "mac", "02:00:00:00:00:21")
	out, err := exec.Command("ip", "-n", b, "-br", "link").Output()
	if err != nil || !strings.Contains(string(out), "02:00:00:00:00:11") {
		t.Errorf("the VF's interface does not have its old MAC: %s, %v", out, err)
	}
	ip(t, "-n", a, "neigh", "flush", "all")
	if answers(b, "10.77.0.1") {
		t.Error("frames with the old MAC pass the spoof check")
	}
	s := slot(t, pf, 1)
	bind(t, s, "igbvf")
	dev := netdev(t, s)
	if got := read(t, "/sys/class/net", dev, "address"); got != "02:00:00:00:00:21" {
		t.Fatalf("bound again it has MAC %s", got)
	}
	ip(t, "addr", "add", "10.77.0.5/24", "dev", dev)
	ip(t, "link", "set", dev, "up")
	reach(t, a, "10.77.0.5")
}

func TestRigGuestReachesTheVLANOfItsVF(t *testing.T) {
	pf := nics(t)[0]
	station(t, pf, 0, "02:00:00:00:00:10", "77", "10.77.0.1/24")
	program(t, pf, 3, "02:00:00:00:00:13", "77")
	s := slot(t, pf, 3)
	bind(t, s, "vfio-pci")
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	initramfs := filepath.Join(t.TempDir(), "guest")
	image, err := rig.WriteGuest(rig.Guest{Modules: []string{"igbvf"}, Script: rig.GuestNIC}, initramfs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	address := rig.Address(netip.MustParsePrefix("10.77.0.9/24"), netip.MustParseAddr("10.77.0.1"))
	cmd := exec.CommandContext(ctx, qemu, rig.GuestArgs(image, initramfs, address, s)...)
	cmd.Stderr = os.Stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	want := []string{"guest: nic eth0 02:00:00:00:00:13", "guest: address 10.77.0.9 on eth0", "guest: ping ok"}
	for lines := bufio.NewScanner(console); len(want) > 0 && lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		t.Logf("%4.1f s %s", time.Since(start).Seconds(), line)
		if line == want[0] {
			want = want[1:]
		} else if line == "guest: ping fail" {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("the guest did not say %q", want[0])
	}
}
