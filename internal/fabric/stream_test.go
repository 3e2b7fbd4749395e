package fabric

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"neutrino/internal/agent"
	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/rpc/fabricv1/fabricv1connect"
)

// client is an agent's end without an agent.
type client struct {
	t *testing.T
	*connect.BidiStreamForClient[fabricv1.FromAgent, fabricv1.FromController]
	cancel context.CancelFunc
}

func dial(t *testing.T, c *controller, h rpc.Hello) *client {
	t.Helper()
	path := strings.TrimPrefix(c.address, "unix://")
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	ctx, cancel := context.WithCancel(t.Context())
	s := fabricv1connect.NewFabricClient(&http.Client{Transport: tr}, "http://c").Join(ctx)
	cl := &client{t, s, cancel}
	t.Cleanup(func() {
		_ = s.CloseRequest()
		cancel()
		_ = s.CloseResponse()
		tr.CloseIdleConnections()
	})
	if h.Roles == nil {
		h.Roles = []model.Agent{{Type: model.AgentNICSwitch, Binary: "b"}}
	}
	if h.Instance == "" {
		h.Instance = "i1"
	}
	m, err := rpc.EncodeHello(h)
	if err != nil {
		t.Fatal(err)
	}
	cl.say(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Hello{Hello: m}})
	return cl
}

func (c *client) say(m *fabricv1.FromAgent) {
	c.t.Helper()
	if err := c.Send(m); err != nil {
		c.t.Logf("send: %v", err)
	}
}

func (c *client) report(seq uint64, r ...*fabricv1.PortReport) {
	c.t.Helper()
	c.say(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Reports{Reports: &fabricv1.Reports{Seq: seq, Reports: r}}})
}

func hear[T any](c *client, get func(*fabricv1.FromController) *T) *T {
	c.t.Helper()
	m, err := c.Receive()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	out := get(m)
	if out == nil {
		c.t.Fatalf("received %v, want %T", m, out)
	}
	return out
}

// fails reads to the end of the stream and wants the code and the words.
func (c *client) fails(code connect.Code, words string) {
	c.t.Helper()
	for {
		if _, err := c.Receive(); err != nil {
			if connect.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
				c.t.Errorf("stream ended with %v, want %s: %s", err, code, words)
			}
			return
		}
	}
}

func TestStreamResumes(t *testing.T) {
	p := newPlane()
	p.bind("h1", 1, 10)
	c := startController(t, p, socket(t, "s"), Options{})
	one := dial(t, c, rpc.Hello{Host: "h1"})
	if w := hear(one, (*fabricv1.FromController).GetWelcome); w.GetLeaseTtlMs() != 75000 || w.GetBeatIntervalMs() != 15000 {
		t.Errorf("welcome %v", w)
	}
	snap := hear(one, (*fabricv1.FromController).GetSnapshot)
	if len(snap.GetAttachments()) != 1 {
		t.Fatalf("snapshot %v", snap)
	}
	p.bind("h1", 2, 10)
	d := hear(one, (*fabricv1.FromController).GetDelta)
	if d.GetBaseRevision() != snap.GetRevision() || len(d.GetAttachments()) != 1 {
		t.Fatalf("delta %v", d)
	}
	_ = one.CloseRequest()
	one.cancel()
	eventually(t, "left", func() bool { return c.Hosts() == 0 })
	p.bind("h1", 3, 10)
	p.edit(func() { delete(p.atts, "port-001") })

	two := dial(t, c, rpc.Hello{Host: "h1", Epoch: snap.GetEpoch(), Revision: d.GetRevision()})
	hear(two, (*fabricv1.FromController).GetWelcome)
	d2 := hear(two, (*fabricv1.FromController).GetDelta)
	if d2.GetBaseRevision() != d.GetRevision() || len(d2.GetAttachments()) != 1 || len(d2.GetRemovedPorts()) != 1 {
		t.Errorf("delta after resume: %v", d2)
	}
	// Another agent of the host takes over, with a state that the controller did not send.
	three := dial(t, c, rpc.Hello{Host: "h1", Instance: "i2", Epoch: snap.GetEpoch(), Revision: 1})
	hear(three, (*fabricv1.FromController).GetWelcome)
	if s := hear(three, (*fabricv1.FromController).GetSnapshot); len(s.GetAttachments()) != 2 || s.GetEpoch() == snap.GetEpoch() {
		t.Errorf("snapshot %v", s)
	}
	two.fails(connect.CodeAborted, "joined again")
}

func TestReportsOfOthersAreIgnored(t *testing.T) {
	p := newPlane()
	mine, foreign := p.bind("h1", 1, 10), p.bind("h2", 2, 10)
	c := startController(t, p, socket(t, "s"), Options{})
	cl := dial(t, c, rpc.Hello{Host: "h1"})
	hear(cl, (*fabricv1.FromController).GetWelcome)
	hear(cl, (*fabricv1.FromController).GetSnapshot)
	cl.report(7, &fabricv1.PortReport{PortId: foreign, Revision: 10, Up: true}, &fabricv1.PortReport{PortId: mine, Revision: 9, Up: true})
	if a := hear(cl, (*fabricv1.FromController).GetAck); a.GetSeq() != 7 {
		t.Errorf("ack %v", a)
	}
	for _, id := range []string{mine, foreign} {
		if s, _ := p.status(id); s != model.StatusDown {
			t.Errorf("%s is %s", id, s)
		}
	}
	cl.report(8, &fabricv1.PortReport{PortId: mine, Revision: 10, Up: true})
	hear(cl, (*fabricv1.FromController).GetAck)
	p.wantStatus(t, mine, model.StatusActive)
}

// An agent that joins a new controller says at once what it carries, before the controller
// has looked what it is to carry. That must not be lost: it is not said again.
func TestFirstReportsAreNotTooEarly(t *testing.T) {
	p := newPlane()
	p.slow = make(chan struct{})
	mine := p.bind("h1", 1, 10)
	c := startController(t, p, socket(t, "s"), Options{})
	cl := dial(t, c, rpc.Hello{Host: "h1"})
	hear(cl, (*fabricv1.FromController).GetWelcome)
	cl.report(1, &fabricv1.PortReport{PortId: mine, Revision: 10, Up: true})
	cl.say(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Heartbeat{Heartbeat: &fabricv1.Heartbeat{}}})
	eventually(t, "the heartbeat, and so the report before it, is read", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.kept > 0
	})
	close(p.slow)
	hear(cl, (*fabricv1.FromController).GetSnapshot)
	if a := hear(cl, (*fabricv1.FromController).GetAck); a.GetSeq() != 1 {
		t.Errorf("ack %v", a)
	}
	p.wantStatus(t, mine, model.StatusActive)
}

func TestWrongAgentsAreRefused(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{AgentDownTime: 300 * time.Millisecond})
	dial(t, c, rpc.Hello{Host: "a/b"}).fails(connect.CodeInvalidArgument, "host")
	dial(t, c, rpc.Hello{Host: "h1", Roles: []model.Agent{{Type: "Metering agent", Binary: "b"}}}).fails(connect.CodeInvalidArgument, "unknown type")

	twice := dial(t, c, rpc.Hello{Host: "h1"})
	twice.say(&fabricv1.FromAgent{Message: &fabricv1.FromAgent_Hello{Hello: &fabricv1.Hello{Host: "h1"}}})
	twice.fails(connect.CodeInvalidArgument, "second hello")

	wild := dial(t, c, rpc.Hello{Host: "h1"})
	wild.report(1, &fabricv1.PortReport{PortId: "../x"})
	wild.fails(connect.CodeInvalidArgument, "port_id")

	dial(t, c, rpc.Hello{Host: "h1"}).fails(connect.CodeUnavailable, "silent for 300ms")

	p.edit(func() { p.failing = errors.New("etcd is gone") })
	dial(t, c, rpc.Hello{Host: "h1"}).fails(connect.CodeUnavailable, "etcd is gone")
	eventually(t, "nobody is joined", func() bool { return c.Hosts() == 0 })
}

// An agent that does not read is given up, and nobody else notices it.
func TestStuckAgentBlocksNobody(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	c.writeDeadline = 200 * time.Millisecond
	stuck := dial(t, c, rpc.Hello{Host: "h1", Roles: []model.Agent{{Type: model.AgentDHCP, Binary: "b"}}})
	hear(stuck, (*fabricv1.FromController).GetWelcome)
	startAgent(t, nic(8), agent.Config{Host: "h2", Controllers: []string{c.address}})
	eventually(t, "both are joined", func() bool { return c.Hosts() == 2 })
	for i := range 8 { // more than the windows of HTTP/2 hold
		p.edit(func() {
			n := &model.DHCPNetwork{NetworkID: fmt.Sprintf("n%d", i), PortID: "p", MAC: "fa:16:3e:00:00:01"}
			for j := range 20000 {
				n.Hosts = append(n.Hosts, model.DHCPHost{PortID: fmt.Sprintf("q%d", j), MAC: "fa:16:3e:00:00:02", HostName: strings.Repeat("x", 200)})
			}
			p.nets[n.NetworkID] = n
		})
	}
	p.wantStatus(t, p.bind("h2", 1, 10), model.StatusActive)
	eventually(t, "the stuck one is given up", func() bool { return c.Hosts() == 1 })
	p.wantStatus(t, p.bind("h2", 2, 10), model.StatusActive)
}

// A deadline is for a write, not for the silence after it.
func TestIdleStreamLives(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	c.writeDeadline = 100 * time.Millisecond
	cl := dial(t, c, rpc.Hello{Host: "h1"})
	hear(cl, (*fabricv1.FromController).GetWelcome)
	hear(cl, (*fabricv1.FromController).GetSnapshot)
	time.Sleep(400 * time.Millisecond)
	p.bind("h1", 1, 10)
	hear(cl, (*fabricv1.FromController).GetDelta)
}

func TestStopEndsStreams(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "s"), Options{})
	cl := dial(t, c, rpc.Hello{Host: "h1"})
	hear(cl, (*fabricv1.FromController).GetWelcome)
	go c.stop() // waited for by the clean-up
	cl.fails(connect.CodeUnavailable, "stopping")
	c.stop()
	if _, err := os.Stat(strings.TrimPrefix(c.address, "unix://")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	path := filepath.Join(dir, "s")
	l, err := Listen(ctx, "unix://"+path, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	if st, serr := os.Stat(path); serr != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", st.Mode(), serr)
	}
	if _, err = Listen(ctx, "unix://"+path, TLS{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second listener: %v", err)
	}
	_ = l.(*unixListener).Listener.Close() // as a crash leaves it
	if l, err = Listen(ctx, "unix://"+path, TLS{}); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	_ = l.Close()
	if err = os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Listen(ctx, "unix://"+path, TLS{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file is there: %v", err)
	}
	if _, err = Listen(ctx, "0.0.0.0:0", TLS{}); !errors.Is(err, ErrPlaintext) {
		t.Errorf("plaintext for everybody: %v", err)
	}
	if _, err = Listen(ctx, "0.0.0.0:0", TLS{CertFile: "none", KeyFile: "none", CAFile: "none"}); err == nil {
		t.Error("no such certificate")
	}
	if l, err = Listen(ctx, "127.0.0.1:0", TLS{}); err != nil {
		t.Errorf("loopback: %v", err)
	} else {
		_ = l.Close()
	}
}

// authority signs certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key, a.cert = a.make("ca", nil)
	return a
}

func (a *authority) make(name string, ips []net.IP) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err = os.WriteFile(filepath.Join(a.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, out
}

func (a *authority) files(name string) (cert, key, ca string) {
	return filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key"), filepath.Join(a.dir, "ca.crt")
}

func TestAgentSpeaksForItsOwnHostOnly(t *testing.T) {
	ca := newAuthority(t)
	ca.make("controller", []net.IP{net.IPv4(127, 0, 0, 1)})
	ca.make("h1", nil)
	ca.make("h2", nil)
	p := newPlane()
	cert, key, auth := ca.files("controller")
	// Not loopback, so that TLS is used; reached through loopback all the same.
	c := startController(t, p, "0.0.0.0:0", Options{TLS: TLS{CertFile: cert, KeyFile: key, CAFile: auth}})
	_, port, _ := net.SplitHostPort(c.address)
	at := "https://127.0.0.1:" + port

	said := &words{}
	run := func(host, as string) (stop func()) {
		cert, key, auth := ca.files(as)
		return startAgent(t, nic(2), agent.Config{Host: host, Controllers: []string{at}, TLS: agent.TLS{CertFile: cert, KeyFile: key, CAFile: auth}},
			agent.WithLogger(slog.New(slog.NewTextHandler(said, nil))))
	}
	run("h1", "h1")
	p.wantStatus(t, p.bind("h1", 1, 10), model.StatusActive)
	id := p.bind("h2", 2, 10)
	stop := run("h2", "h1")
	eventually(t, "refusal", func() bool { return said.contain(`is not of host \"h2\"`) })
	stop()
	if s, _ := p.status(id); s != model.StatusDown {
		t.Errorf("another host's certificate made the port %s", s)
	}
	run("h2", "h2")
	p.wantStatus(t, id, model.StatusActive)

	// Without a certificate there is no conversation at all.
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("no client certificate: %v", err)
	}
}
