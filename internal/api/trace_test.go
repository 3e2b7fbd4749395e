package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func TestTraceTellsTheWayOfAPortAndWhereItHangs(t *testing.T) {
	r := newRig(t, api.Options{})
	r.agent(model.Agent{
		Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: "h1", Topic: "N/A",
		Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}, "extensions": []any{}},
	})
	n := r.make("demo", "networks", "network", obj{"name": "net"})["id"]
	id := fmt.Sprint(r.make("demo", "ports", "port", obj{"network_id": n, "name": "p"})["id"])
	path := "/v2.0/ports/" + id + "/trace"
	trace := func(user string) (steps string, hangs, all map[string]any) {
		t.Helper()
		all, _ = r.must(200, r.call(user, "GET", path, nil)).body["trace"].(map[string]any)
		var words []string
		events, _ := all["events"].([]any)
		for _, e := range events {
			words = append(words, fmt.Sprint(e.(map[string]any)["what"]))
		}
		hangs, _ = all["hangs"].(map[string]any)
		return strings.Join(words, ", "), hangs, all
	}
	if steps, hangs, _ := trace(""); steps != "created" || hangs["step"] != "bind" {
		t.Errorf("unbound: %s, %v", steps, hangs)
	}
	r.must(404, r.call("alt", "GET", path, nil))
	r.must(404, r.call("", "GET", "/v2.0/ports/nope/trace", nil))

	r.must(200, r.call("", "PUT", "/v2.0/ports/"+id, obj{"port": obj{"binding:host_id": "h1", "binding:vnic_type": "direct"}}))
	if steps, hangs, _ := trace(""); steps != "created, bound" || hangs["step"] != "report" {
		t.Errorf("bound: %s, %v", steps, hangs)
	}
	snap := r.db.Snapshot()
	p, _ := r.svc.Tables().Ports.Get(snap, id)
	net, _ := r.svc.Tables().Networks.Get(snap, p.NetworkID)
	a, ok := neutron.AttachmentOf(p, net)
	if !ok {
		t.Fatalf("not bound: %+v", p.Binding)
	}
	now := model.MomentOf(time.Now())
	report := model.PortReport{
		PortID: id, Revision: a.Revision, Reason: "the driver refused", PF: "eth6", VF: 2, PCISlot: "0000:06:00.2",
		Moments: model.Moments{Told: now, Received: now - 3_000_000, Recorded: now - 2_999_000, Heard: now + 9},
	}
	say := func() {
		t.Helper()
		if err := r.svc.ReportPorts(context.Background(), "h1", []model.PortReport{report}); err != nil {
			t.Fatal(err)
		}
	}
	say()
	steps, hangs, all := trace("")
	if steps != "created, bound, told to the host, received, recorded on disk, report came, report committed" ||
		hangs["step"] != "program" || hangs["why"] != "the driver refused" {
		t.Errorf("failed: %s, %v", steps, hangs)
	}
	if !strings.Contains(fmt.Sprint(all["clocks"]), "at least 3s behind") {
		t.Errorf("clocks: %v", all["clocks"])
	}
	report.Up, report.Reason = true, ""
	report.Moments.Programmed, report.Moments.ReadBack = now-2_998_000, now-2_997_000
	say()
	steps, hangs, all = trace("")
	if !strings.HasSuffix(steps, "programmed, read back as asked, report came, report committed, ACTIVE") || hangs != nil {
		t.Errorf("up: %s, %v", steps, hangs)
	}
	if all["pf"] != "eth6" || all["pci_slot"] != "0000:06:00.2" || all["host"] != "h1" || all["vlan"] == nil {
		t.Errorf("verdict: %v", all)
	}
	// A change that the host has not answered for is said, and what was before is not lost.
	r.must(200, r.call("", "PUT", "/v2.0/ports/"+id, obj{"port": obj{"device_id": "vm"}}))
	if steps, hangs, all = trace(""); !strings.HasSuffix(steps, ", ACTIVE") || hangs != nil || all["changed"] == nil || all["pf"] != "eth6" {
		t.Errorf("changed: %s, %v, %v", steps, hangs, all)
	}
	// The owner sees the steps and their times, not the host and its devices.
	a1 := r.must(200, r.call("demo", "GET", path, nil))
	for _, secret := range []string{"h1", "eth6", "0000:06"} {
		if strings.Contains(strings.ReplaceAll(a1.text, id, ""), secret) {
			t.Errorf("the owner reads %q: %s", secret, a1.text)
		}
	}
	body := r.must(200, r.call("", "GET", "/v2.0/ports/"+id, nil))
	if strings.Contains(body.text, "journey") {
		t.Errorf("the port shows its journey: %s", body.text)
	}
	r.must(404, r.call("", "GET", path+"/more", nil))
}
