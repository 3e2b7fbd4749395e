package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/trunk"
)

func TestVerification(t *testing.T) {
	r := newRig(t, api.Options{})
	post := func(as, body string) reply { return r.call(as, "POST", "/v2.0/fabric/verify", body) }
	r.must(400, post("", `{"verify":{"physical_network":"default","vlans":"100"}}`)) // there is no host
	for _, h := range []string{"h1", "h2"} {
		r.agent(model.Agent{
			Type: model.AgentNICSwitch, Binary: model.BinaryNICSwitch, Host: h,
			Configurations: map[string]any{"device_mappings": map[string]any{"default": []any{"eth6"}}},
		})
	}
	r.must(403, post("demo", `{"verify":{}}`))
	for _, bad := range []string{
		`{"verify":{"vlans":"0"}}`, `{"verify":{"rate":100000}}`, `{"verify":{"nonsense":1}}`, `{"verify":{"hosts":["h1","h9"],"physical_network":"default","vlans":"5"}}`,
		`{"verify":{"hosts":["h1"],"physical_network":"default","vlans":"5"}}`, `{"verify":{"physical_network":"other","vlans":"5"}}`, `{"verify":{"sizes":[1]}}`,
		`{"verify":{"physical_network":"default","vlans":"1-4094","max_duration":1}}`, `{}`, `{"verify":{"mtu":1500,"sizes":[64]}}`,
	} {
		r.must(400, post("", bad))
	}
	plan := r.must(200, post("", `{"verify":{"physical_network":"default","vlans":"100-102","dry_run":true}}`)).object("verify")
	if plan["state"] != "planned" || plan["frames"] != float64(3*2*trunk.DefaultRounds*2) || plan["id"] != nil {
		t.Errorf("%v", plan)
	}
	a := r.must(202, post("", `{"verify":{"physical_network":"default","vlans":"100-102"}}`))
	run := a.object("verify")
	id := run["id"].(string)
	if run["state"] != "running" || strings.Contains(a.text, "key") {
		t.Errorf("%s", a.text)
	}
	if _, message := r.must(409, post("", `{"verify":{"physical_network":"default","vlans":"7"}}`)).fault(); !strings.Contains(message, id) {
		t.Errorf("%s", message)
	}
	runs, _ := r.svc.Probes(r.db.Snapshot())
	record := func(host string, res trunk.Result) {
		t.Helper()
		res.Run = runs[0].ID
		if err := r.svc.RecordProbe(context.Background(), host, &res); err != nil {
			t.Fatal(err)
		}
	}
	record("h1", trunk.Result{Error: "late"})
	record("h1", trunk.Result{Uplinks: []trunk.Uplink{{Name: "eth6"}}})
	record("h1", trunk.Result{Error: "late"}) // the host's own word stays
	record("h9", trunk.Result{})
	v, err := r.svc.Verification(id)
	if err != nil || len(v.Results) != 1 || v.Results["h1"].Error != "" || v.Finished {
		t.Errorf("%+v: %v", v, err)
	}
	if got := r.must(200, r.call("", "GET", "/v2.0/fabric/verify/"+id, nil)).object("verify"); got["reported"] != 1.0 {
		t.Errorf("%v", got)
	}
	r.must(403, r.call("demo", "GET", "/v2.0/fabric/verify/"+id, nil))
	r.must(204, r.call("", "DELETE", "/v2.0/fabric/verify/"+id, nil))
	r.must(404, r.call("", "GET", "/v2.0/fabric/verify/"+id, nil))
	r.must(404, r.call("", "GET", "/v2.0/fabric/other", nil))
	r.must(http.StatusAccepted, post("", `{"verify":{"physical_network":"default","vlans":"100"}}`)) // the turn is free again
}
