package metadata

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Connections that one proxy holds at once.
const (
	maxOpen      = 4096
	maxPerClient = 32 // of one instance; of all strangers together
)

// gate counts a proxy's connections, so that no instance can take them from the others.
type gate struct {
	m    *metrics
	left sync.WaitGroup // connections that net/http has not done with

	mu   sync.Mutex
	open int
	by   map[string]int // port id -> connections; "" = strangers
}

func newGate(m *metrics) *gate { return &gate{m: m, by: map[string]int{}} }

func (g *gate) enter(who string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= maxOpen || g.by[who] >= maxPerClient {
		g.m.turned.Inc()
		return false
	}
	g.open++
	g.by[who]++
	g.m.open.Inc()
	return true
}

func (g *gate) leave(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.by[who]--; g.by[who] == 0 {
		delete(g.by, who)
	}
	g.m.open.Dec()
}

// guarded lets in the connections that are meant for the service and not too many.
type guarded struct {
	net.Listener
	p *Proxy
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, ok := g.p.admit(c)
		if !ok {
			_ = c.Close()
			continue
		}
		return &counted{Conn: c, who: who}, nil
	}
}

// admit reports whether a connection may stay, and whose it is: a port's id, "" = nobody's
// known.
func (p *Proxy) admit(c net.Conn) (who string, ok bool) {
	from, err1 := netip.ParseAddrPort(c.RemoteAddr().String())
	to, err2 := netip.ParseAddrPort(c.LocalAddr().String())
	if err1 != nil || err2 != nil {
		return "", false
	}
	if to.Addr().Is6() && !to.Addr().Is4In6() && to.Addr().WithZone("") != Address6 {
		return "", false
	}
	if h := p.clients.Load().find(from.Addr(), p.macOf); h != nil {
		who = h.PortID
	}
	return who, p.gate.enter(who)
}

// counted is a connection with the port it counts for.
type counted struct {
	net.Conn
	who string
}

// state is the server's hook: a connection counts until its goroutine is at its end.
func (g *gate) state(c net.Conn, now http.ConnState) {
	switch now {
	case http.StateNew:
		g.left.Add(1)
	case http.StateClosed:
		if k, ok := c.(*counted); ok {
			g.leave(k.who)
		}
		g.left.Done()
	}
}
