package router

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/model"
)

// BenchmarkSetNothingNew is the cost of a pass that finds all as asked: 100 routers with two
// interfaces each. An audit asks the kernel of each of them, as Set once did.
func BenchmarkSetNothingNew(b *testing.B) {
	const routers = 100
	r := newRig(b)
	var specs []*model.RouterSpec
	for i := range routers {
		spec := &model.RouterSpec{RouterID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)}
		for j := range 2 {
			id := fmt.Sprintf("%08x-%d", i, j)
			name := fmt.Sprintf("vf%d", len(r.netdevs))
			r.netdevs[id] = VF{PF: "eth6", Index: len(r.netdevs), Netdev: name}
			r.in(r.home, func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "far-" + name})
			})
			spec.Interfaces = append(spec.Interfaces, testPort(id, 2*i+j, 1500, fmt.Sprintf("10.0.%d.1/24", j), fmt.Sprintf("10.0.%d.1", j)))
		}
		specs = append(specs, spec)
	}
	n := r.node()
	start := time.Now()
	set(b, n, specs...)
	b.ReportMetric(float64(time.Since(start).Milliseconds())/routers, "ms/new-router")
	for n.untilNext(retryFirst) <= announceEvery { // announcements are not over
		time.Sleep(100 * time.Millisecond)
	}
	per := func(b *testing.B, pass func() error) {
		for b.Loop() {
			if err := pass(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/routers, "µs/router")
	}
	b.Run("set", func(b *testing.B) {
		per(b, func() error { _, err := n.Set(b.Context(), specs); return err })
	})
	b.Run("audit", func(b *testing.B) {
		per(b, func() error {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.reconcile(b.Context(), true)
		})
	})
}

// BenchmarkForwarding compares a router of ours with a namespace that forwards and has no
// rules: the floor.
func BenchmarkForwarding(b *testing.B) {
	r := newRig(b)
	a, _, outside := r.site()
	n := r.node()
	set(b, n, twoSubnets())
	client, server := r.plain()
	for _, path := range []struct{ name, from, at, to string }{
		{"plain", client, server, "192.0.2.5"}, {"router", a, outside, "203.0.113.1"},
	} {
		r.serve(path.at, 80)
		r.sink(path.at, 81)
		b.Run("rtt/"+path.name, func(b *testing.B) {
			c := r.dial(path.from, path.to+":80")
			for b.Loop() {
				if _, err := whoami(c, 10*time.Second); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("stream/"+path.name, func(b *testing.B) {
			c := r.dial(path.from, path.to+":81")
			block := make([]byte, 1<<20)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				if _, err := c.Write(block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plain is a client and a server with a namespace between them that only forwards.
func (r *rig) plain() (client, server string) {
	r.t.Helper()
	middle := r.home
	client = r.machine("pc", "plain-c", "198.51.100.5/24", "198.51.100.1")
	server = r.machine("ps", "plain-s", "192.0.2.5/24", "192.0.2.1")
	r.in(middle, func() error {
		for id, address := range map[string]string{"plain-c": "198.51.100.1/24", "plain-s": "192.0.2.1/24"} {
			l, err := netlink.LinkByName(r.netdevs[id].Netdev)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
	return client, server
}

// sink takes what is sent and forgets it.
func (r *rig) sink(ns string, port int) {
	r.t.Helper()
	var ln net.Listener
	r.in(ns, func() (err error) {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	r.t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
}
