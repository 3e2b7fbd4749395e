package vfnltest

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mdlayher/netlink"

	"neutrino/internal/vfnl"
)

// Link is an interface: a PF when it has a Driver, else for example a VF's netdev.
type Link struct {
	Ifindex   int
	Name      string
	Address   vfnl.MAC
	Permanent vfnl.MAC
	MTU       int
	Up        bool
	Carrier   bool
	Driver    Driver
	VFs       []VF
	hang      chan struct{} // not nil = setting blocks until it is closed
}

// Request is one attribute about to be set.
type Request struct {
	Ifindex int
	VF      int
	Attr    string // as by vfnl.Attrs.Names; "tx_rate" for both rates
}

// Fault is what a Fails function answers for a Request.
type Fault struct {
	Errno   unix.Errno
	Message string // the extended acknowledgement
}

// Counts of requests that were received.
type Counts struct{ Gets, Sets int }

// Kernel is safe for concurrent use.
type Kernel struct {
	mu       sync.Mutex
	links    map[int]*Link
	fails    func(Request) *Fault
	address  func(ifindex int, m vfnl.MAC)
	counts   Counts
	asked    []Request
	monitors map[*monitor]bool
}

// New returns a kernel with these interfaces.
func New(links ...Link) *Kernel {
	k := &Kernel{links: map[int]*Link{}, monitors: map[*monitor]bool{}}
	for i := range links {
		l := links[i]
		k.links[l.Ifindex] = &l
	}
	return k
}

// PF is a PF of n fresh VFs, up and with carrier, whose addresses are made of its index.
func PF(ifindex int, name string, d Driver, n int) Link {
	m := vfnl.MAC{0x52, 0x54, 0, 0, byte(ifindex), 0}
	l := Link{Ifindex: ifindex, Name: name, Address: m, Permanent: m, MTU: 1500, Up: true, Carrier: true, Driver: d, VFs: make([]VF, n)}
	for i := range l.VFs {
		l.VFs[i] = VF{Own: vfnl.MAC{0x0a, 0xaa, 0, 0, byte(ifindex), byte(i)}, Spoof: !d.VGT, VLAN: vfnl.VLAN{Proto: vfnl.Dot1Q}}
	}
	return l
}

// Conn opens a socket.
func (k *Kernel) Conn() *vfnl.Conn { return vfnl.New(netlink.NewConn(&requests{k: k}, port)) }

// Monitor subscribes to link changes.
func (k *Kernel) Monitor() *vfnl.Monitor {
	m := &monitor{k: k, in: make(chan netlink.Message, 64), done: make(chan struct{})}
	k.mu.Lock()
	k.monitors[m] = true
	k.mu.Unlock()
	return vfnl.NewMonitor(netlink.NewConn(m, port))
}

// Counts returns how many requests came since the last call.
func (k *Kernel) Counts() Counts {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.counts
	k.counts = Counts{}
	return c
}

// Asked returns the attributes that were asked to be set since the last call, in order.
func (k *Kernel) Asked() []Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.asked
	k.asked = nil
	return a
}

// FailWith makes f be asked before each attribute is set; nil ends it.
func (k *Kernel) FailWith(f func(Request) *Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fails = f
}

// OnAddress makes f be called when a netdev's own address was set; it must not call the
// Kernel. A sysfs of the test's own may follow it.
func (k *Kernel) OnAddress(f func(ifindex int, m vfnl.MAC)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.address = f
}

// Change changes an interface behind everybody's back. With an event if the interface
// is up, as the kernel does it, before and after.
func (k *Kernel) Change(ifindex int, f func(*Link)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[ifindex]
	if l == nil {
		l = &Link{Ifindex: ifindex}
		k.links[ifindex] = l
	}
	was := l.Up
	f(l)
	if was || l.Up {
		k.notify(l, unix.RTM_NEWLINK)
	}
}

// Silently changes an interface, and the kernel does not tell.
func (k *Kernel) Silently(ifindex int, f func(*Link)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[ifindex]; l != nil {
		f(l)
	}
}

// Remove deletes an interface.
func (k *Kernel) Remove(ifindex int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[ifindex]; l != nil {
		delete(k.links, ifindex)
		k.notify(l, unix.RTM_DELLINK)
	}
}

// VF returns a VF's state.
func (k *Kernel) VF(ifindex, vf int) VF {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[ifindex]; l != nil && vf < len(l.VFs) {
		return l.VFs[vf]
	}
	return VF{}
}

// Link returns an interface's state.
func (k *Kernel) Link(ifindex int) Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[ifindex]; l != nil {
		return *l
	}
	return Link{}
}

// Hide leaves a VF out of the next times readings; of all with times < 0.
func (k *Kernel) Hide(ifindex, vf, times int) {
	k.Silently(ifindex, func(l *Link) { l.VFs[vf].hideTimes, l.VFs[vf].hidden = times, times < 0 })
}

// Hang makes every setting on an interface block until the returned function is called.
func (k *Kernel) Hang(ifindex int) (release func()) {
	ch := make(chan struct{})
	k.Silently(ifindex, func(l *Link) { l.hang = ch })
	return sync.OnceFunc(func() {
		k.Silently(ifindex, func(l *Link) { l.hang = nil })
		close(ch)
	})
}

// Overflow makes every monitor miss messages (ENOBUFS).
func (k *Kernel) Overflow() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for m := range k.monitors {
		m.overflow()
	}
}

func (k *Kernel) notify(l *Link, typ uint16) {
	body := fillLink(l, 0, false)
	for m := range k.monitors {
		m.put(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ)}, Data: body})
	}
}
