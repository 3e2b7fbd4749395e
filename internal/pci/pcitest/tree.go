package pcitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"neutrino/internal/pci"
)

// Tree is a machine in a directory. It is safe for concurrent use.
type Tree struct {
	Root  string
	Sys   *pci.Sys // reacts to writes
	Cards []Card

	mu sync.Mutex
	at map[string]place // by PCI address, also of VFs that are not there
}

// place says which function of which card an address is; vf is -1 for the PF.
type place struct {
	card Card
	vf   int
}

const description = "cards.json"

// Build makes a machine with the given cards in an empty directory.
func Build(root string, cards ...Card) (*Tree, error) {
	t := attach(root, cards)
	data, err := json.Marshal(cards)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, description), data, 0o600)
	}
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"proc/net", "sys/class/net", "sys/bus/pci/devices", "sys/bus/pci/drivers/vfio-pci"} {
		if err = os.MkdirAll(t.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	var w writer
	w.file(t.path("sys/bus/pci/drivers_probe"), "")
	w.file(t.path("proc/net/route"), "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n")
	if w.err != nil {
		return nil, w.err
	}
	for _, c := range cards {
		if err = t.addPF(c); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Open takes up a machine that Build has made, perhaps in another process.
func Open(root string) (*Tree, error) {
	data, err := os.ReadFile(filepath.Join(root, description))
	if err != nil {
		return nil, fmt.Errorf("open a fixture: %w", err)
	}
	var cards []Card
	if err = json.Unmarshal(data, &cards); err != nil {
		return nil, fmt.Errorf("open a fixture: %w", err)
	}
	return attach(root, cards), nil
}

func attach(root string, cards []Card) *Tree {
	t := &Tree{Root: root, Cards: cards, at: map[string]place{}}
	for _, c := range cards {
		t.at[c.Slot] = place{c, -1}
		for i := range c.Total {
			t.at[c.VFSlot(i)] = place{c, i}
		}
	}
	t.Sys = &pci.Sys{Root: root, Wrote: t.wrote}
	return t
}

func (t *Tree) path(parts ...string) string {
	return filepath.Join(append([]string{t.Root}, parts...)...)
}

// Device is a path in the directory of a function.
func (t *Tree) Device(slot string, more ...string) string {
	return t.path(append([]string{"sys/bus/pci/devices", slot}, more...)...)
}

// writer keeps the first error of many.
type writer struct{ err error }

func (w *writer) file(path, text string) {
	if w.err == nil {
		w.err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if w.err == nil {
		w.err = os.WriteFile(path, []byte(text), 0o600)
	}
}

func (w *writer) link(path, to string) {
	if w.err == nil {
		w.err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if w.err == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.err = err
			return
		}
		w.err = os.Symlink(to, path)
	}
}

// function makes what every function has.
func (t *Tree) function(c Card, slot string, device int) error {
	var w writer
	for name, text := range map[string]string{
		"vendor": fmt.Sprintf("0x%04x\n", c.Vendor), "device": fmt.Sprintf("0x%04x\n", device), "class": "0x020000\n",
		"numa_node": fmt.Sprintf("%d\n", c.NUMA), "driver_override": "(null)\n",
		"current_link_speed": "8.0 GT/s PCIe\n", "current_link_width": "8\n",
	} {
		w.file(t.Device(slot, name), text)
	}
	if c.Reset != "none" {
		w.file(t.Device(slot, "reset"), "")
		method := c.Reset
		if method == "" {
			method = "flr"
		}
		w.file(t.Device(slot, "reset_method"), method+"\n")
	}
	return errors.Join(w.err, t.group(c, slot))
}

// group puts a function into an IOMMU group.
func (t *Tree) group(c Card, slot string) error {
	if c.Group == "none" {
		return nil
	}
	groups, err := os.ReadDir(t.path("sys/kernel/iommu_groups"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n := len(groups) + 1
	if c.Group == "shared" {
		n = 1000 + slices.IndexFunc(t.Cards, func(o Card) bool { return o.Slot == c.Slot })
	} else {
		for ; ; n++ {
			if _, err = os.Stat(t.path("sys/kernel/iommu_groups", strconv.Itoa(n))); err != nil {
				break
			}
		}
	}
	dir := t.path("sys/kernel/iommu_groups", strconv.Itoa(n))
	var w writer
	w.link(filepath.Join(dir, "devices", slot), t.Device(slot))
	w.link(t.Device(slot, "iommu_group"), dir)
	return w.err
}

func (t *Tree) addPF(c Card) error {
	if err := t.function(c, c.Slot, c.Device); err != nil {
		return err
	}
	var w writer
	w.file(t.Device(c.Slot, "sriov_totalvfs"), fmt.Sprintf("%d\n", c.Total))
	w.file(t.Device(c.Slot, "sriov_numvfs"), "0\n")
	if !c.NoAutoprobe {
		w.file(t.Device(c.Slot, "sriov_drivers_autoprobe"), "1\n")
	}
	if c.Driver == "mlx4_core" {
		w.file(t.path("sys/module/mlx4_core/parameters/num_vfs"), fmt.Sprintf("%d,%d,%d\n", c.Triplet[0], c.Triplet[1], c.Triplet[2]))
	}
	for _, d := range []string{c.Driver, c.VFDriver} {
		if d != "" && w.err == nil {
			w.err = os.MkdirAll(t.path("sys/bus/pci/drivers", d), 0o755)
		}
	}
	if w.err == nil && c.Driver != "" {
		w.err = t.bind(c.Slot, c.Driver)
	}
	if w.err != nil {
		return w.err
	}
	return t.makeVFs(c, c.VFs)
}

// card finds whose function a slot is; vf is -1 for the PF itself.
func (t *Tree) card(slot string) (c Card, vf int, ok bool) {
	p, ok := t.at[slot]
	return p.card, p.vf, ok
}

// netdevs makes the netdevs that a driver brings.
func (t *Tree) netdevs(slot string) error {
	c, vf, ok := t.card(slot)
	if !ok {
		return fmt.Errorf("no function %s", slot)
	}
	all := c.Netdevs
	mac, err := net.ParseMAC(c.MAC)
	if err != nil && len(all) > 0 {
		return err
	}
	if vf >= 0 {
		all = c.VFNetdevs(vf)
		if len(mac) == 6 {
			mac[0], mac[3] = 0x02, byte(vf)
		}
	}
	var w writer
	for port, name := range all {
		at := t.Device(slot, "net", name)
		w.file(filepath.Join(at, "address"), mac.String()+"\n")
		w.file(filepath.Join(at, "dev_port"), fmt.Sprintf("%d\n", port))
		w.link(filepath.Join(at, "device"), t.Device(slot))
		w.link(t.path("sys/class/net", name), at)
		mac[5]++
	}
	return w.err
}

// bind gives a function a driver, and a network driver its netdevs.
func (t *Tree) bind(slot, driver string) error {
	if err := t.unbind(slot); err != nil {
		return err
	}
	dir := t.path("sys/bus/pci/drivers", driver)
	var w writer
	w.file(filepath.Join(dir, "unbind"), "")
	w.link(t.Device(slot, "driver"), dir)
	if w.err != nil {
		return w.err
	}
	if pci.IsVFIO(driver) {
		return nil
	}
	return t.netdevs(slot)
}

func (t *Tree) unbind(slot string) error {
	entries, err := os.ReadDir(t.Device(slot, "net"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	errs := []error{os.RemoveAll(t.Device(slot, "net"))}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(t.path("sys/class/net", e.Name())))
	}
	return errors.Join(append(errs, os.RemoveAll(t.Device(slot, "driver")))...)
}

// Away takes a function's netdevs into another namespace: sysfs shows an empty
// directory.
func (t *Tree) Away(slot string) error {
	entries, err := os.ReadDir(t.Device(slot, "net"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(t.Device(slot, "net", e.Name())), os.RemoveAll(t.path("sys/class/net", e.Name())))
	}
	return err
}

// Upper puts a device on top of another.
func (t *Tree) Upper(netdev, upper string) error {
	at := t.path("sys/class/net", upper)
	lower, err := filepath.EvalSymlinks(t.path("sys/class/net", netdev))
	if err != nil {
		return err
	}
	var w writer
	w.file(filepath.Join(at, "address"), "02:00:00:00:00:01\n")
	w.link(filepath.Join(lower, "upper_"+upper), at)
	w.link(filepath.Join(at, "lower_"+netdev), lower)
	return w.err
}

// Hold starts a "process" that has the IOMMU group of a function open. guest "" = it is
// no QEMU.
func (t *Tree) Hold(pid int, guest, slot string) error {
	group, err := os.Readlink(t.Device(slot, "iommu_group"))
	if err != nil {
		return err
	}
	dir := t.path("proc", strconv.Itoa(pid))
	comm, args := "dpdk-testpmd", []string{"dpdk-testpmd", "-l", "0"}
	if guest != "" {
		comm, args = "qemu-system-x86", []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=" + guest + ",debug-threads=on", "-S"}
	}
	var w writer
	w.file(filepath.Join(dir, "comm"), comm+"\n")
	w.file(filepath.Join(dir, "cmdline"), strings.Join(args, "\x00")+"\x00")
	w.link(filepath.Join(dir, "fd/0"), "/dev/null")
	w.link(filepath.Join(dir, "fd/31"), "/dev/vfio/"+filepath.Base(group))
	return w.err
}

// Release ends a process of Hold.
func (t *Tree) Release(pid int) error { return os.RemoveAll(t.path("proc", strconv.Itoa(pid))) }

// Route adds an IPv4 route over a netdev as /proc/net/route has it; "default" or the
// network's address in the kernel's hexadecimal, e.g. 0002000A for 10.0.2.0.
func (t *Tree) Route(netdev, network string) error {
	mask := "00FFFFFF"
	if network == "default" {
		network, mask = "00000000", "00000000"
	}
	f, err := os.OpenFile(t.path("proc/net/route"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t00000000\t0001\t0\t0\t0\t%s\t0\t0\t0\n", netdev, network, mask)
	return errors.Join(err, f.Close())
}
