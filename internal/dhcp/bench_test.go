package dhcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

const (
	benchHosts   = 1000
	benchClients = 8 // exchanges under way at once
)

func benchMAC(i int) net.HardwareAddr {
	return net.HardwareAddr{0xfa, 0x16, 0x3e, 1, byte(i >> 8), byte(i)}
}

func benchAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(16 + i>>8), byte(i)})
}

func benchNetwork() *model.DHCPNetwork {
	n := &model.DHCPNetwork{
		NetworkID: "n", PortID: "p", MAC: "fa:16:3e:00:00:02", MTU: 1500,
		Addresses: []model.FixedIP{{SubnetID: "s", IP: ip("10.0.0.2")}},
		Subnets: []*model.Subnet{{
			Meta: model.Meta{ID: "s"}, IPVersion: 4, EnableDHCP: true, CIDR: netip.MustParsePrefix("10.0.0.0/16"),
			GatewayIP: ip("10.0.0.1"), DNSNameservers: []netip.Addr{ip("9.9.9.9")},
		}},
	}
	for i := range benchHosts {
		n.Hosts = append(n.Hosts, model.DHCPHost{
			PortID: fmt.Sprint("p", i), MAC: benchMAC(i).String(), Addresses: []model.FixedIP{{SubnetID: "s", IP: benchAddr(i)}},
		})
	}
	return n
}

// BenchmarkExchange measures whole exchanges (DISCOVER, OFFER, REQUEST, ACK) of 1000 known
// clients, eight at a time, over a veth: with this package's server, and with dnsmasq as
// Neutron starts it. Both run in the same namespace, one after the other; the clients are the
// same. dnsmasq's lease file is in memory.
func BenchmarkExchange(b *testing.B) {
	b.Run("neutrino", func(b *testing.B) {
		benchExchange(b, func(b *testing.B, ns string) (stop func()) {
			v, problems := NewView(benchNetwork(), Defaults{DNSDomain: "example.org"})
			if len(problems) != 0 {
				b.Fatal(problems)
			}
			var s *Server
			if err := netspace.Do(ns, func() (err error) {
				s, err = NewServer("s0", v, slog.New(slog.DiscardHandler))
				return err
			}); err != nil {
				b.Fatal(err)
			}
			return func() { _ = s.Close() }
		})
	})
	b.Run("dnsmasq", func(b *testing.B) {
		if _, err := exec.LookPath("dnsmasq"); err != nil {
			b.Skip("dnsmasq is not installed (apt install dnsmasq-base)")
		}
		benchExchange(b, startDnsmasq)
	})
}

func startDnsmasq(b *testing.B, ns string) (stop func()) {
	dir, err := os.MkdirTemp("/dev/shm", "dhcp-bench")
	if err != nil {
		b.Fatal(err)
	}
	var hosts bytes.Buffer
	for i := range benchHosts {
		fmt.Fprintf(&hosts, "%s,host-%d,%s\n", benchMAC(i), i, benchAddr(i))
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts"), hosts.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv", "--port=0", "--bind-interfaces", "--interface=s0",
		"--except-interface=lo", "--dhcp-hostsfile="+filepath.Join(dir, "hosts"), "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--pid-file",
		"--dhcp-range=set:s,10.0.0.0,static,255.255.0.0,86400s", "--dhcp-lease-max=65536", "--domain=example.org",
		"--dhcp-option-force=option:mtu,1500", "--dhcp-option=tag:s,option:dns-server,9.9.9.9", "--dhcp-option=tag:s,option:router,10.0.0.1",
		"--dhcp-authoritative", "--quiet-dhcp", "--user=root", "--conf-file=/dev/null")
	if err := netspace.Do(ns, cmd.Start); err != nil {
		b.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
}

func benchExchange(b *testing.B, start func(*testing.B, string) (stop func())) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: network namespaces")
	}
	server, client := fmt.Sprintf("dtbs-%d", os.Getpid()), fmt.Sprintf("dtbc-%d", os.Getpid())
	for _, name := range []string{server, client} {
		if err := netspace.Create(name, nil); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = netspace.Delete(name) }()
	}
	benchLinks(b, server, client)
	defer start(b, server)()
	l := newLoad(b, client)
	defer l.close()
	for try := 0; ; try++ { // until the server answers
		if _, ok := l.exchange(0, 200*time.Millisecond); ok {
			break
		}
		if try == 100 {
			b.Fatal("the server does not answer")
		}
	}
	took := make([]time.Duration, b.N)
	var next, lost atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range benchClients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				d, ok := l.exchange(i%benchHosts, time.Second)
				if took[i] = d; !ok {
					lost.Add(1)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if n := lost.Load(); n > int64(b.N/100) {
		b.Fatalf("%d of %d exchanges got no answer", n, b.N)
	}
	slices.Sort(took)
	ms := func(q int) float64 { return float64(took[(len(took)-1)*q/100].Microseconds()) / 1000 }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
	b.ReportMetric(ms(50), "p50-ms")
	b.ReportMetric(ms(99), "p99-ms")
}

func benchLinks(b *testing.B, server, client string) {
	far, err := netspace.Open(client)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	err = netspace.Do(server, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "s0", HardwareAddr: hw("fa:16:3e:00:00:02")}, PeerName: "c0", PeerNamespace: netlink.NsFd(int(far)),
		}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("s0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr("10.0.0.2/16")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	if err == nil {
		err = netspace.Do(client, func() error {
			l, err := netlink.LinkByName("c0")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// load is many clients on one packet socket.
type load struct {
	conn *packet.Conn
	done chan struct{}
	xid  atomic.Uint32

	mu   sync.Mutex
	wait map[uint32]chan []byte // by transaction id
}

func newLoad(b *testing.B, ns string) *load {
	l := &load{done: make(chan struct{}), wait: map[uint32]chan []byte{}}
	if err := netspace.Do(ns, func() error {
		ifi, err := net.InterfaceByName("c0")
		if err != nil {
			return err
		}
		l.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, nil)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	go l.read()
	return l
}

func (l *load) close() {
	_ = l.conn.Close()
	<-l.done
}

// read hands each reply to the client whose transaction it is.
func (l *load) read() {
	defer close(l.done)
	buf := make([]byte, 2048)
	for {
		n, _, err := l.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		const head = etherLen + ipLen + udpLen
		if n < head+240 || buf[etherLen+9] != protoUDP || binary.BigEndian.Uint16(buf[etherLen+ipLen:]) != serverPort {
			continue
		}
		l.mu.Lock()
		c := l.wait[binary.BigEndian.Uint32(buf[head+4:])]
		l.mu.Unlock()
		if c != nil {
			select {
			case c <- slices.Clone(buf[head:n]):
			default:
			}
		}
	}
}

// exchange is one client's whole exchange; ok is false when it got no answer in time.
func (l *load) exchange(host int, patience time.Duration) (took time.Duration, ok bool) {
	begin := time.Now()
	id := l.xid.Add(1)
	c := make(chan []byte, 4)
	l.mu.Lock()
	l.wait[id] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.wait, id)
		l.mu.Unlock()
	}()
	mac := benchMAC(host)
	say := func(kind dhcpv4.MessageType, want dhcpv4.MessageType, mods ...dhcpv4.Modifier) bool {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{
			dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), dhcpv4.WithBroadcast(true),
			dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU),
		}, mods...)...)
		if err != nil {
			return false
		}
		binary.BigEndian.PutUint32(m.TransactionID[:], id)
		frame := buildFrame(mac, broadcastMAC, ip("0.0.0.0"), ip("255.255.255.255"), serverPort, m.ToBytes())
		binary.BigEndian.PutUint16(frame[etherLen+ipLen:], clientPort)
		binary.BigEndian.PutUint16(frame[etherLen+ipLen+6:], 0) // no checksum
		if _, err := l.conn.WriteTo(frame, &packet.Addr{HardwareAddr: broadcastMAC}); err != nil {
			return false
		}
		select {
		case got := <-c:
			reply, err := dhcpv4.FromBytes(got)
			return err == nil && reply.MessageType() == want && reply.YourIPAddr.Equal(benchAddr(host).AsSlice())
		case <-time.After(patience):
			return false
		}
	}
	ok = say(dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer) &&
		say(dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeAck, want50(benchAddr(host).String()), server("10.0.0.2"))
	return time.Since(begin), ok
}
