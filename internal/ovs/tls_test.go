package ovs

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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/ovs/ovstest"
)

// authority signs certificates for 127.0.0.1 and returns their files.
func authority(t *testing.T, dir, name string) (cert, key, ca string, conf *tls.Config) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "host"}, NotAfter: ends, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	file := func(what, kind string, der []byte) string {
		path := filepath.Join(dir, name+"-"+what+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, ca = file("cert", "CERTIFICATE", leafDER), file("key", "PRIVATE KEY", keyDER), file("ca", "CERTIFICATE", rootDER)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	rootCert, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(rootCert)
	return cert, key, ca, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// A database behind TLS is spoken to when each end knows the other's authority, and not else.
func TestDatabaseBehindTLS(t *testing.T) {
	i := ovstest.Start(t)
	cert, key, ca, ours := authority(t, i.Dir, "ours")
	_, _, _, strangers := authority(t, i.Dir, "strangers")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	i.Vsctl("set-ssl", key, cert, ca, "--", "set-manager", fmt.Sprintf("pssl:%d:127.0.0.1", port))
	for _, c := range []struct {
		conf *tls.Config
		up   bool
	}{{ours, true}, {strangers, false}, {&tls.Config{RootCAs: ours.RootCAs, MinVersion: tls.VersionTLS12}, false}} {
		s, err := Open(Options{
			Endpoint: fmt.Sprintf("ssl:127.0.0.1:%d", port), TLS: c.conf, Datapath: "netdev", Bridges: []Bridge{{Name: br, PhysicalNetwork: "default"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		set := func() error { _, serr := s.Set(context.Background(), nil); return serr }
		if c.up {
			eventually(t, "the database answers", func() bool { return set() == nil })
		} else {
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if err = set(); !errors.Is(err, ErrUnavailable) {
					t.Fatalf("it speaks to strangers: %v", err)
				}
			}
		}
		s.Close()
	}
}
