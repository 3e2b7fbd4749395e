package sriov_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// card describes one NIC of a rack: a PF with its VFs.
type card struct {
	name     string
	number   int // in PCI addresses and interface indexes
	driver   string
	vfDriver string // "" = the VFs have none
	behave   vfnltest.Driver
	vfs      int
}

func (c card) slot() string        { return fmt.Sprintf("0000:%02x:00.0", c.number) }
func (c card) vfSlot(i int) string { return fmt.Sprintf("0000:%02x:%02x.%d", c.number, 16+i/8, i%8) }
func (c card) netdev(i int) string { return fmt.Sprintf("%sv%d", c.name, i) }

// rack is a host: a kernel of vfnltest and a sysfs in a directory that say the same.
type rack struct {
	t     testing.TB
	root  string
	k     *vfnltest.Kernel
	cards []card
	log   *syncBuffer
	ue    chan sriov.Uevent
	sys   *pci.Sys
	bound sync.Map // PCI slot -> how often its driver was bound
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func newRack(t testing.TB, cards ...card) *rack {
	r := &rack{t: t, root: t.TempDir(), cards: cards, log: &syncBuffer{}, ue: make(chan sriov.Uevent)}
	r.sys = &pci.Sys{Root: r.root}
	var links []vfnltest.Link
	for _, c := range cards {
		links = append(links, vfnltest.PF(c.number, c.name, c.behave, c.vfs))
		for i := range c.vfs {
			links = append(links, vfnltest.Link{Ifindex: c.number*1000 + i, Name: c.netdev(i), Address: own(c, i)})
		}
	}
	r.k = vfnltest.New(links...)
	for _, c := range cards {
		r.addPF(c)
		for i := range c.vfs {
			r.addVF(c, i)
		}
	}
	r.k.OnAddress(func(ifindex int, m vfnl.MAC) {
		for _, c := range r.cards {
			if i := ifindex - c.number*1000; i >= 0 && i < c.vfs {
				r.write(filepath.Join("devices/pci0000:00", c.vfSlot(i), "net", c.netdev(i), "address"), m.String())
			}
		}
	})
	return r
}

// own is the address that a VF's netdev has before anybody gives it one.
func own(c card, i int) vfnl.MAC { return vfnl.MAC{0x0a, 0xaa, 0, 0, byte(c.number), byte(i)} }

func (r *rack) path(p string) string { return filepath.Join(r.root, "sys", p) }

func (r *rack) write(p, text string) {
	must(r.t, os.MkdirAll(filepath.Dir(r.path(p)), 0o755))
	must(r.t, os.WriteFile(r.path(p), []byte(text+"\n"), 0o644))
}

func (r *rack) link(p, to string) {
	must(r.t, os.MkdirAll(filepath.Dir(r.path(p)), 0o755))
	must(r.t, os.RemoveAll(r.path(p)))
	must(r.t, os.Symlink(r.path(to), r.path(p)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rack) addPF(c card) {
	dev := "devices/pci0000:00/" + c.slot()
	r.write(dev+"/numa_node", "1")
	r.write(dev+"/sriov_totalvfs", "63")
	r.write(dev+"/net/"+c.name+"/ifindex", strconv.Itoa(c.number))
	r.write("bus/pci/drivers/"+c.driver+"/module", "")
	r.link(dev+"/driver", "bus/pci/drivers/"+c.driver)
	r.link(dev+"/net/"+c.name+"/device", dev)
	r.link("class/net/"+c.name, dev+"/net/"+c.name)
	r.link("bus/pci/devices/"+c.slot(), dev)
}

func (r *rack) addVF(c card, i int) {
	dev := "devices/pci0000:00/" + c.vfSlot(i)
	must(r.t, os.MkdirAll(r.path(dev), 0o755))
	r.link(dev+"/physfn", "devices/pci0000:00/"+c.slot())
	r.link("devices/pci0000:00/"+c.slot()+"/virtfn"+strconv.Itoa(i), dev)
	r.link("bus/pci/devices/"+c.vfSlot(i), dev)
	if c.vfDriver != "" {
		r.bind(c, i, c.vfDriver, own(c, i))
	}
}

// bind gives the VF a driver, and its netdev an address.
func (r *rack) bind(c card, i int, driver string, m vfnl.MAC) {
	dev := "devices/pci0000:00/" + c.vfSlot(i)
	r.write("bus/pci/drivers/"+driver+"/module", "")
	r.link(dev+"/driver", "bus/pci/drivers/"+driver)
	r.write(dev+"/net/"+c.netdev(i)+"/address", m.String())
	r.write(dev+"/net/"+c.netdev(i)+"/ifindex", strconv.Itoa(c.number*1000+i))
	r.link(dev+"/net/"+c.netdev(i)+"/device", dev)
	r.link("class/net/"+c.netdev(i), dev+"/net/"+c.netdev(i))
}

// away takes the VF's netdev out of the host's namespace.
func (r *rack) away(c card, i int) {
	must(r.t, os.RemoveAll(r.path("devices/pci0000:00/"+c.vfSlot(i)+"/net")))
	must(r.t, os.RemoveAll(r.path("class/net/"+c.netdev(i))))
}

func (r *rack) unbind(c card, i int) {
	r.away(c, i)
	must(r.t, os.RemoveAll(r.path("devices/pci0000:00/"+c.vfSlot(i)+"/driver")))
}

// rebinds makes a VF driver's files work as the kernel's do: a driver that is bound takes
// over the address that the PF has for the VF.
func (r *rack) rebinds(c card) {
	r.write("bus/pci/drivers/"+c.vfDriver+"/unbind", "")
	r.write("bus/pci/drivers_probe", "")
	for i := range c.vfs {
		r.write("devices/pci0000:00/"+c.vfSlot(i)+"/driver_override", "")
	}
	r.sys.Wrote = func(path, text string) error {
		for i := range c.vfs {
			switch {
			case c.vfSlot(i) != text:
			case strings.HasSuffix(path, "/unbind"):
				r.unbind(c, i)
			case strings.HasSuffix(path, "/drivers_probe"):
				m := r.k.VF(c.number, i).MAC
				if m == (vfnl.MAC{}) {
					m = own(c, i)
				}
				old, _ := r.bound.LoadOrStore(c.vfSlot(i), 0)
				r.bound.Store(c.vfSlot(i), old.(int)+1)
				r.bind(c, i, c.vfDriver, m)
			}
		}
		return nil
	}
}

func (r *rack) bounds(c card, i int) int {
	n, ok := r.bound.Load(c.vfSlot(i))
	if !ok {
		return 0
	}
	return n.(int)
}

// fakeUevents are those that a test sends to r.ue.
type fakeUevents struct {
	in   chan sriov.Uevent
	once sync.Once
	done chan struct{}
}

func (f *fakeUevents) Next() (sriov.Uevent, error) {
	select {
	case e := <-f.in:
		if e.Action == "lost" {
			return e, sriov.ErrLost
		}
		return e, nil
	case <-f.done:
		return sriov.Uevent{}, os.ErrClosed
	}
}

func (f *fakeUevents) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

func (r *rack) open(change ...func(*sriov.Options)) *sriov.Switch {
	o := sriov.Options{
		Sys: r.sys, Dial: func() (*vfnl.Conn, error) { return r.k.Conn(), nil },
		Monitor:  func() (*vfnl.Monitor, error) { return r.k.Monitor(), nil },
		Uevents:  func() (sriov.Uevents, error) { return &fakeUevents{in: r.ue, done: make(chan struct{})}, nil },
		Log:      slog.New(slog.NewTextHandler(r.log, nil)),
		Patience: 2 * time.Second,
	}
	for _, c := range r.cards {
		o.PFs = append(o.PFs, c.name)
	}
	for _, f := range change {
		f(&o)
	}
	s, err := sriov.Open(r.t.Context(), o)
	must(r.t, err)
	r.t.Cleanup(func() { s.Close() })
	return s
}

func observe(t testing.TB, s *sriov.Switch) eswitch.State {
	t.Helper()
	st, err := s.Observe(t.Context())
	must(t, err)
	return st
}

// vf returns one VF of a state, and whether it is there.
func vf(st eswitch.State, pf string, i int) (eswitch.VF, bool) {
	for _, p := range st.PFs {
		for _, v := range p.VFs {
			if v.ID == (eswitch.VFID{PF: pf, Index: i}) {
				return v, true
			}
		}
	}
	return eswitch.VF{}, false
}

func look(t testing.TB, s *sriov.Switch, pf string, i int) eswitch.VF {
	t.Helper()
	v, ok := vf(observe(t, s), pf, i)
	if !ok {
		t.Fatalf("VF %d of %s is not there", i, pf)
	}
	return v
}

func apply(t testing.TB, s *sriov.Switch, pf string, i int, a eswitch.Attrs) error {
	t.Helper()
	return s.Apply(t.Context(), []eswitch.Change{{VF: eswitch.VFID{PF: pf, Index: i}, Attrs: a}})[0].Err
}

// event reports whether one comes within d.
func event(s *sriov.Switch, d time.Duration) bool {
	select {
	case <-s.Events():
		return true
	case <-time.After(d):
		return false
	}
}

const tenant = "fa:16:3e:00:00:01"

var (
	igb  = card{name: "eth6", number: 6, driver: "igb", vfDriver: "igbvf", behave: vfnltest.IGB(), vfs: 4}
	i40e = card{name: "eth6", number: 6, driver: "i40e", vfDriver: "iavf", behave: vfnltest.I40E(), vfs: 4}
	mlx4 = card{name: "eth6", number: 6, driver: "mlx4_core", vfDriver: "mlx4_core", behave: vfnltest.MLX4(), vfs: 4}
	mlx5 = card{name: "eth6", number: 6, driver: "mlx5_core", vfDriver: "mlx5_core", behave: vfnltest.MLX5(), vfs: 4}
)

// port are the attributes of a port, all of them.
func port() eswitch.Attrs {
	return eswitch.Attrs{
		MAC: eswitch.Set(tenant), VLAN: eswitch.Set(77), SpoofCheck: eswitch.Set(true), Trust: eswitch.Set(true),
		LinkState: eswitch.Set(model.LinkEnable), MinTxRate: eswitch.Set(10), MaxTxRate: eswitch.Set(100),
	}
}
