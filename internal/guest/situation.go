package guest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"

	"neutrino/internal/machine"
)

// NIC is one of a guest's, as far as its address depends on it.
type NIC struct {
	Slot    string
	Vendor  int
	Device  int
	Driver  string
	Modules []string // of this kernel that would drive it; only where no driver does
	Name    string   // of its netdev; "" = none
	MAC     string
	BurntIn string // the address that the host gave the VF; "" = not known
	Up      bool
	Carrier bool
	// Addresses are those of global scope.
	Addresses []netip.Prefix
	// Offer is what a DHCP server answered; nil = nobody was asked.
	Offer *Offer
}

// Offer is the answer to a DISCOVER.
type Offer struct {
	Address netip.Addr
	Server  netip.Addr
	Took    time.Duration
	Err     error // nobody answered, or nobody could be asked
}

// Situation is what Judge goes by.
type Situation struct {
	Kernel   string
	Root     bool
	NICs     []NIC
	Clients  []string // DHCP clients that run
	Managers []string // services that configure the network and run
	Walls    []string // firewalls that run
	Fixed    bool     // neutrino guest fix was here
}

// clients are programs that ask for addresses; managers are services that do it themselves.
var (
	clients  = []string{"dhclient", "dhcpcd", "udhcpc", "pump"}
	services = []string{"systemd-networkd.service", "NetworkManager.service", "wickedd.service", "networking.service"}
	walls    = []string{"firewalld.service", "ufw.service", "nftables.service"}
)

// Ask says whether and how long Observe asks for a DHCP offer.
type Ask struct {
	For      time.Duration // 0 = nobody is asked
	Progress func(what string)
}

// Observe looks at the guest it runs in. With Ask it sends a DISCOVER on every NIC that is up and has
// no address; it takes no lease.
func Observe(ctx context.Context, ask Ask) (Situation, error) {
	m, err := machine.Read("/")
	if err != nil {
		return Situation{}, err
	}
	s := Situation{Kernel: m.Kernel.Release, Root: os.Geteuid() == 0}
	_, err = os.Stat("/" + modulesFile)
	s.Fixed = err == nil
	for _, n := range m.NICs {
		if n.PF != nil && n.PF.NumVFs > 0 { // a host's own
			continue
		}
		s.NICs = append(s.NICs, observe(ctx, n))
	}
	s.Clients = processes(m.Tree)
	for _, list := range []struct {
		names []string
		to    *[]string
	}{{services, &s.Managers}, {walls, &s.Walls}} {
		for _, name := range list.names {
			if svc, ok := m.Tree.Service(name); ok && svc.Running {
				*list.to = append(*list.to, strings.TrimSuffix(name, ".service"))
			}
		}
	}
	if ask.For <= 0 || !s.Root {
		return s, nil
	}
	for i := range s.NICs {
		n := &s.NICs[i]
		if n.Name == "" || !n.Up || !n.Carrier || len(n.Addresses) > 0 {
			continue
		}
		if ask.Progress != nil {
			ask.Progress(fmt.Sprintf("ask for an address on %s, up to %s", n.Name, ask.For))
		}
		n.Offer = discover(ctx, n.Name, ask.For)
	}
	return s, nil
}

func observe(ctx context.Context, n machine.NIC) NIC {
	out := NIC{Slot: n.Slot, Vendor: n.Vendor, Device: n.Device, Driver: n.Driver}
	if n.Driver == "" {
		out.Modules = modulesFor(ctx, n.Slot)
	}
	name := ""
	if len(n.Interfaces) > 0 {
		name = n.Interfaces[0].Name
	}
	if name == "" {
		return out
	}
	i := n.Interfaces[0]
	out.Name, out.MAC, out.Up, out.Carrier = name, i.MAC, i.Up, i.Carrier
	l, err := netlink.LinkByName(name)
	if err != nil {
		return out
	}
	out.BurntIn = l.Attrs().PermHWAddr.String()
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return out
	}
	for _, a := range list {
		if p, ok := netip.AddrFromSlice(a.IP); ok && !p.Unmap().IsLinkLocalUnicast() {
			ones, _ := a.Mask.Size()
			out.Addresses = append(out.Addresses, netip.PrefixFrom(p.Unmap(), ones))
		}
	}
	return out
}

// modulesFor asks modprobe which modules of the running kernel drive a device.
func modulesFor(ctx context.Context, slot string) []string {
	alias, err := os.ReadFile(filepath.Join("/sys/bus/pci/devices", slot, "modalias"))
	if err != nil {
		return nil
	}
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, modprobe, "-R", strings.TrimSpace(string(alias))).Output()
	if err != nil {
		return nil // it has none
	}
	return strings.Fields(string(out))
}

// processes are the DHCP clients that run.
func processes(t machine.Tree) []string {
	var out []string
	for _, pid := range t.Names("proc") {
		if strings.Trim(pid, "0123456789") != "" {
			continue
		}
		if comm, _ := t.Text("proc", pid, "comm"); slices.Contains(clients, comm) {
			out = append(out, comm+" (pid "+pid+")")
		}
	}
	return out
}

// discover sends DISCOVERs until a server offers an address.
func discover(ctx context.Context, name string, limit time.Duration) *Offer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	c, err := nclient4.New(name, nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(int(limit/(3*time.Second))+1))
	if err != nil {
		return &Offer{Err: fmt.Errorf("ask for an address on %s: %w", name, err)}
	}
	defer c.Close()
	o, err := c.DiscoverOffer(ctx, dhcpv4.WithBroadcast(true))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nclient4.ErrNoResponse) {
			err = fmt.Errorf("nobody answered within %s", limit)
		}
		return &Offer{Err: err}
	}
	out := &Offer{Took: time.Since(start)}
	out.Address, _ = netip.AddrFromSlice(o.YourIPAddr.To4())
	out.Server, _ = netip.AddrFromSlice(o.ServerIdentifier().To4())
	return out
}
