package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// Place says how instances come to a proxy.
type Place int

const (
	// OnLink: they reach the namespace over a link of theirs (DHCP). The proxy adds 169.254.169.254
	// to the loopback and fe80::a9fe:a9fe to every Ethernet device, and listens there on port 80.
	OnLink Place = iota
	// Redirected: whoever owns the namespace (a router) redirects 169.254.169.254:80 to
	// RedirectPort, IPv4 only.
	Redirected
)

// RedirectPort is where a Redirected proxy listens.
const RedirectPort = 9697

// The addresses instances ask at.
var (
	Address4 = netip.MustParseAddr("169.254.169.254")
	Address6 = netip.MustParseAddr("fe80::a9fe:a9fe")
)

// How long an instance may take, and its connection live.
const (
	headTime  = 5 * time.Second
	readTime  = 10 * time.Second // head and body
	writeTime = 90 * time.Second // from the head's end, Nova's time included
	idleTime  = 15 * time.Second
)

// Proxy answers in one namespace. It is safe for concurrent use. Its goroutines, and those of
// the requests it has begun, end before Close returns.
type Proxy struct {
	s       *Service
	name    string
	place   Place
	nl      *netlink.Handle
	log     *slog.Logger
	clients atomic.Pointer[clients]
	server  *http.Server
	gate    *gate
	serving sync.WaitGroup

	mu     sync.Mutex
	closed bool
	told   string // last trouble with addresses that was logged
}

// Open starts a proxy in the namespace ns, called name in messages; it knows nobody until
// Set. ns may be closed afterwards. An error wrapping EADDRINUSE means that another process,
// such as an agent that is on its way out, still listens there: try again.
func (s *Service) Open(ns netns.NsHandle, name string, place Place) (*Proxy, error) {
	fail := func(err error) (*Proxy, error) { return nil, fmt.Errorf("serve metadata in %s: %w", name, err) }
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fail(fmt.Errorf("open netlink: %w", err))
	}
	p := &Proxy{s: s, name: name, place: place, nl: nl, log: s.log.With("namespace", name), gate: newGate(s.m)}
	p.clients.Store(newClients(nil, nil))
	p.server = &http.Server{
		Handler: p, ConnState: p.gate.state, ReadHeaderTimeout: headTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what a client breaks off is its affair
	}
	if err = p.ensureAddresses(); err != nil && place == OnLink {
		nl.Close()
		return fail(err)
	}
	var listeners []net.Listener
	if err = netspace.DoAt(ns, func() error {
		listeners, err = listen(place)
		return err
	}); err != nil {
		nl.Close()
		return fail(err)
	}
	for _, l := range listeners {
		p.serving.Go(func() {
			if err := p.server.Serve(&guarded{Listener: l, p: p}); !errors.Is(err, http.ErrServerClosed) {
				p.log.Error("metadata is not served any more", "at", l.Addr().String(), "error", err)
			}
		})
	}
	s.m.proxies.Inc()
	return p, nil
}

// listen opens the sockets. A kernel without IPv6 has the first only.
func listen(place Place) ([]net.Listener, error) {
	var lc net.ListenConfig
	ctx := context.Background()
	if place == Redirected {
		l, err := lc.Listen(ctx, "tcp4", fmt.Sprintf(":%d", RedirectPort))
		return []net.Listener{l}, err
	}
	l4, err := lc.Listen(ctx, "tcp4", netip.AddrPortFrom(Address4, 80).String())
	if err != nil {
		return nil, err
	}
	// On any address, because devices come and go; guarded lets in only what was meant for
	// Address6.
	l6, err := lc.Listen(ctx, "tcp6", "[::]:80")
	switch {
	case err == nil:
		return []net.Listener{l4, l6}, nil
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EADDRNOTAVAIL):
		return []net.Listener{l4}, nil
	}
	_ = l4.Close()
	return nil, err
}

// Set says who can ask here, all of them; the values are kept and must not be changed.
// Subnets are those of their addresses as far as they are known. It also sees to the
// addresses of an OnLink proxy, so it is to be called when devices have come.
func (p *Proxy) Set(hosts []model.DHCPHost, subnets []*model.Subnet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.clients.Store(newClients(hosts, subnets))
	trouble := ""
	if err := p.ensureAddresses(); err != nil {
		trouble = err.Error()
	}
	if trouble != "" && trouble != p.told {
		p.log.Error("the metadata service cannot be reached as it should", "error", trouble)
	}
	p.told = trouble
}

// Close ends the proxy and every connection to it, and waits. The addresses stay: an agent
// that starts again finds them.
func (p *Proxy) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	err := p.server.Close()
	p.serving.Wait()
	p.gate.left.Wait()
	p.nl.Close()
	p.s.m.proxies.Dec()
	if err != nil {
		return fmt.Errorf("end the metadata service in %s: %w", p.name, err)
	}
	return nil
}

// ServeHTTP answers a request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	c := p.clients.Load()
	p.s.serve(w, r, c.find(from.Addr(), p.macOf), c, from.Addr())
}

// macOf asks the kernel who a link-local address was resolved to; "" = it does not know.
func (p *Proxy) macOf(a netip.Addr) string {
	list, err := p.nl.NeighList(0, netlink.FAMILY_V6)
	if err != nil {
		return ""
	}
	found := ""
	for i := range list {
		if ip, ok := netip.AddrFromSlice(list[i].IP); !ok || ip != a || len(list[i].HardwareAddr) != 6 {
			continue
		}
		mac := list[i].HardwareAddr.String()
		if found != "" && found != mac {
			return "" // on two links
		}
		found = mac
	}
	return found
}
