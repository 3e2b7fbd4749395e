package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/netspace"
)

const (
	hostName = "bench1"
	nic      = "eth6"
	fewVFs   = 8  // as the lab's hosts have
	manyVFs  = 64 // as a NIC has
	// respite lets a host give a VF back before the next port comes.
	respite = 50 * time.Millisecond
)

// startHost makes a host: a namespace with a software NIC of so many VFs, and an agent in it that
// speaks to the site's controller. It returns when the controller calls it alive.
func startHost(b *testing.B, s *site, vfs int) *daemon {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("root is needed: network namespaces and eBPF")
	}
	ns, pins := fmt.Sprintf("nv-bench-%d", os.Getpid()), filepath.Join(s.dir, "nic")
	if err := netspace.Create(ns, func() error { return nil }); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(veb.Destroy(context.Background(), nic, pins), netspace.Delete(ns)); err != nil {
			b.Error(err)
		}
	})
	if err := veb.Create(b.Context(), veb.Spec{Name: nic, VFs: vfs, PinDir: pins, Netns: netspace.Path(ns)}); err != nil {
		b.Fatal(err)
	}
	conf := filepath.Join(s.dir, "agent.conf")
	text := fmt.Sprintf(`[DEFAULT]
host = %s
state_path = %s
[agent]
socket = %s
[sriov_nic]
physical_device_mappings = default:%s
[fabric]
controllers = unix://%s
[veb]
pin_dir = %s
[dhcp]
enabled = false
`, hostName, filepath.Join(s.dir, "agent"), filepath.Join(s.dir, "agent.sock"), nic, s.socket(), pins)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	d := start(b, ns, "agent", "--config-file", conf)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		d.alive(b)
		var answer struct{ Agents []struct{ Alive bool } }
		s.api.must(b, http.MethodGet, "agents?host="+hostName, nil, &answer)
		if len(answer.Agents) > 0 && answer.Agents[0].Alive {
			return d
		}
		if time.Since(began) > 30*time.Second {
			b.Fatal("the agent is not alive")
		}
	}
}

// bindable makes a network and returns what makes an unbound port on it.
func (s *site) bindable(b *testing.B) func() string {
	b.Helper()
	network := s.api.make(b, "networks", "network", object{"name": "bench"})["id"]
	s.api.make(b, "subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/16", "enable_dhcp": false})
	return func() string {
		p := s.api.make(b, "ports", "port", object{"network_id": network, "binding:vnic_type": "direct", "device_owner": "compute:nova"})
		return fmt.Sprint(p["id"])
	}
}

// bind names the host and returns once the port is ACTIVE: its VF was programmed and read
// back. It also returns how long the request to bind took.
func (s *site) bind(b *testing.B, id string) (active, asked time.Duration) {
	b.Helper()
	began := time.Now()
	s.api.must(b, http.MethodPut, "ports/"+id, object{"port": object{"binding:host_id": hostName}}, nil)
	asked = time.Since(began)
	for {
		var answer struct{ Port struct{ Status string } }
		s.api.must(b, http.MethodGet, "ports/"+id+"?fields=status", nil, &answer)
		active = time.Since(began)
		switch {
		case answer.Port.Status == "ACTIVE":
			return active, asked
		case active > 10*time.Second:
			b.Fatalf("port %s is %s", id, answer.Port.Status)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// BenchmarkBoundToActive: from the request that binds a port to the port ACTIVE, as a
// client that keeps asking sees it; one host with a NIC of so many VFs, etcd inside, one
// port after the other, the VF given back before the next. BesidePorts has eight VFs and
// ten thousand other ports in the store.
// put is the request to bind alone; controller and agent are the processor time of each
// daemon for one port's whole life: made, bound, deleted, given back.
func BenchmarkBoundToActive(b *testing.B) {
	run := func(b *testing.B, s *site, vfs int) {
		controller, _ := s.begin(b)
		agent := startHost(b, s, vfs)
		newPort := s.bindable(b)
		var active, asked times
		atController, atAgent := controller.cpu(b), agent.cpu(b)
		for b.Loop() {
			b.StopTimer()
			id := newPort()
			b.StartTimer()
			t, a := s.bind(b, id)
			b.StopTimer()
			active, asked = append(active, t), append(asked, a)
			s.api.must(b, http.MethodDelete, "ports/"+id, nil, nil)
			time.Sleep(respite)
			b.StartTimer()
		}
		active.report(b, "")
		each := func(spent time.Duration) float64 { return float64(spent.Microseconds()) / 1000 / float64(len(active)) }
		b.ReportMetric(each(controller.cpu(b)-atController), "controller-cpu-ms")
		b.ReportMetric(each(agent.cpu(b)-atAgent), "agent-cpu-ms")
		asked.report(b, "put-")
	}
	b.Run("8VFs", func(b *testing.B) { run(b, newSite(b, ""), fewVFs) })
	b.Run("64VFs", func(b *testing.B) { run(b, newSite(b, ""), manyVFs) })
	b.Run("BesidePorts", func(b *testing.B) {
		if os.Geteuid() != 0 {
			b.Skip("root is needed: network namespaces and eBPF")
		}
		run(b, largeSite(b), fewVFs)
	})
}

// BenchmarkAgentMemory: the agent's memory in MB, on a NIC of 64 VFs, without and with a
// port on each of them.
func BenchmarkAgentMemory(b *testing.B) {
	for b.Loop() {
		s := newSite(b, "")
		s.begin(b)
		d := startHost(b, s, manyVFs)
		time.Sleep(settle)
		idle := d.memory(b)
		newPort := s.bindable(b)
		for range manyVFs {
			s.bind(b, newPort())
		}
		time.Sleep(settle)
		full := d.memory(b)
		b.ReportMetric(idle.resident, "idle-MB")
		b.ReportMetric(full.resident, "64-ports-MB")
		b.ReportMetric(full.own, "64-ports-own-MB")
	}
}
