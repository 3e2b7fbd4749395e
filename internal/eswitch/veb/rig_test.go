package veb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// needRoot skips where no NIC can be made.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and eBPF")
	}
}

// host is a namespace of the test's own.
type host struct {
	t    testing.TB
	ns   *namespace
	path string
	l    *links
}

// newHost makes a namespace that lives as long as the test; its path can be given to
// Create.
func newHost(t testing.TB) *host {
	t.Helper()
	needRoot(t)
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}()
	must(t, <-done)
	ns, err := openNetns(path)
	must(t, err)
	l, err := openLinks(ns)
	must(t, err)
	h := &host{t: t, ns: ns, path: path, l: l}
	t.Cleanup(func() {
		l.Close()
		_ = ns.Close()
		_ = unix.Unmount(path, unix.MNT_DETACH)
	})
	lo, err := l.LinkByName("lo")
	must(t, err)
	must(t, l.LinkSetUp(lo))
	return h
}

// kill ends the namespace: every veth in it dies.
func (h *host) kill() {
	h.l.Close()
	_ = h.ns.Close()
	must(h.t, unix.Unmount(h.path, unix.MNT_DETACH))
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.l.LinkByName(name)
	if err != nil {
		h.t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a NIC in a host of its own. Its programs are attached by clsact unless the
// test says otherwise, for tcx takes 15 ms a port; bothWays is for tests to which it
// matters.
type rig struct {
	t    testing.TB
	host *host
	far  *host // where the uplink leads
	dir  string
	spec Spec
	sw   *Switch
}

func newRig(t testing.TB, vfs int, edit ...func(*Spec)) *rig {
	t.Helper()
	r := &rig{t: t, host: newHost(t), far: newHost(t), dir: filepath.Join(t.TempDir(), "pin")}
	r.spec = Spec{Name: "eth6", VFs: vfs, PinDir: r.dir, Netns: r.host.path, Peer: Peer{Name: "wire", Netns: r.far.path}, Attach: AttachClsact}
	for _, e := range edit {
		e(&r.spec)
	}
	r.create()
	return r
}

func (r *rig) create() {
	r.t.Helper()
	must(r.t, Create(context.Background(), r.spec))
	r.t.Cleanup(func() {
		if err := Destroy(context.Background(), r.spec.Name, r.dir); err != nil {
			r.t.Error(err)
		}
		if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
			r.t.Errorf("pin directory is left behind: %v", err)
		}
	})
	r.open()
}

func (r *rig) open() {
	r.t.Helper()
	sw, err := Open(r.spec.Name, r.dir)
	must(r.t, err)
	r.sw = sw
	r.t.Cleanup(func() { must(r.t, sw.Close()) })
}

func mac(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255) }

func hw(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// set applies attributes to one VF.
func (r *rig) set(i int, a eswitch.Attrs) {
	r.t.Helper()
	must(r.t, r.try(i, a))
}

func (r *rig) try(i int, a eswitch.Attrs) error {
	return r.sw.Apply(context.Background(), []eswitch.Change{{VF: eswitch.VFID{PF: r.spec.Name, Index: i}, Attrs: a}})[0].Err
}

// port makes VF i a checked port in a VLAN with the MAC of its number.
func (r *rig) port(i, vlan int) {
	r.t.Helper()
	r.set(i, eswitch.Attrs{MAC: eswitch.Set(mac(i)), VLAN: eswitch.Set(vlan), LinkState: eswitch.Set(model.LinkEnable)})
}

func (r *rig) vf(i int) eswitch.VF {
	r.t.Helper()
	st, err := r.sw.Observe(context.Background())
	must(r.t, err)
	return st.PFs[0].VFs[i]
}

// guest is an instance: a namespace that holds a VF as eth0.
type guest struct {
	*host
	mac  string
	addr netip.Addr
}

// plug moves VF i into a namespace of its own, with the MAC of its number.
func (r *rig) plug(i int, prefix string) *guest {
	r.t.Helper()
	return r.plugInto(newHost(r.t), i, prefix)
}

func (r *rig) plugInto(h *host, i int, prefix string) *guest {
	r.t.Helper()
	g := &guest{host: h, mac: mac(i)}
	vf := r.host.link(r.spec.vfName(i))
	must(r.t, r.host.l.LinkSetNsFd(vf, h.ns.fd()))
	vf = h.link(r.spec.vfName(i))
	must(r.t, h.l.LinkSetName(vf, "eth0"))
	must(r.t, h.l.LinkSetHardwareAddr(vf, hw(g.mac)))
	must(r.t, h.l.LinkSetUp(vf))
	if prefix != "" {
		p := netip.MustParsePrefix(prefix)
		g.addr = p.Addr()
		a, err := netlink.ParseAddr(prefix)
		must(r.t, err)
		a.Flags = unix.IFA_F_NODAD
		must(r.t, h.l.AddrAdd(vf, a))
	}
	return g
}

// waitPeer waits until the NIC gives the VF its frames directly, as it does soon after
// the VF was moved.
func (r *rig) waitPeer(i int) {
	r.t.Helper()
	eventually(r.t, "direct delivery", func() bool {
		v, err := r.sw.nics[0].vf(i)
		return err == nil && v.Flags&vfPeer != 0
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("no %s within 5 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// sniffer is an AF_PACKET socket that also tells the tag which the kernel took off.
type sniffer struct {
	t  testing.TB
	fd int
}

// captured is one frame: its 802.1Q or 802.1ad tag, if it had one, and the rest.
type captured struct {
	tagged bool
	tpid   uint16
	vlan   uint16
	data   []byte
}

// listen captures what arrives on a link of the host from now on.
func (h *host) listen(name string) *sniffer {
	h.t.Helper()
	s := &sniffer{t: h.t, fd: -1}
	must(h.t, h.ns.do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: ifi.Index}))
	}))
	h.t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// frames returns what arrived with our ethertype, once nothing has come for d.
func (s *sniffer) frames(d time.Duration) []captured {
	s.t.Helper()
	tv := unix.NsecToTimeval(d.Nanoseconds())
	must(s.t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	var out []captured
	buf, oob := make([]byte, 70000), make([]byte, 256)
	for {
		n, m, _, from, err := unix.Recvmsg(s.fd, buf, oob, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return out
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		c := captured{data: append([]byte(nil), buf[:n]...)}
		msgs, err := unix.ParseSocketControlMessage(oob[:m])
		must(s.t, err)
		for _, x := range msgs {
			if x.Header.Type == unix.PACKET_AUXDATA && len(x.Data) >= 20 && binary.NativeEndian.Uint32(x.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				c.tagged, c.vlan = true, binary.NativeEndian.Uint16(x.Data[16:])&0xfff
				c.tpid = binary.NativeEndian.Uint16(x.Data[18:])
			}
		}
		if n >= 14 && bytes.Contains(c.data[12:min(n, 26)], testType[:]) {
			out = append(out, c)
		}
	}
}

// count is len(frames) after a pause that is long enough here.
func (s *sniffer) count() int { return len(s.frames(60 * time.Millisecond)) }

// send puts a frame on a link of the host.
func (h *host) send(name string, frame []byte) {
	h.t.Helper()
	must(h.t, h.ns.do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		sa := &unix.SockaddrLinklayer{Ifindex: ifi.Index, Halen: 6}
		copy(sa.Addr[:], frame[:6])
		return unix.Sendto(fd, frame, 0, sa)
	}))
}

// An ethertype that nothing on the machine uses (IEEE local experimental 1).
var testType = [2]byte{0x88, 0xb5}

// frame of our ethertype, at least 60 bytes; tags are 802.1Q VLANs, outer first.
func frame(dst, src string, tags ...uint16) []byte {
	b := append(append([]byte{}, hw(dst)...), hw(src)...)
	for _, v := range tags {
		tpid := uint16(0x8100)
		if v&0x8000 != 0 {
			tpid, v = 0x88a8, v&0x7fff
		}
		b = append(b, byte(tpid>>8), byte(tpid), byte(v>>8), byte(v))
	}
	b = append(b, testType[:]...)
	for len(b) < 60 {
		b = append(b, byte(len(b)))
	}
	return b
}

const broadcast = "ff:ff:ff:ff:ff:ff"
