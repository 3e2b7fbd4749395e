package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"neutrino/internal/lab"
)

// trace is what the test reads of GET /v2.0/ports/{id}/trace.
type trace struct {
	Status  string `json:"status"`
	Host    string `json:"host"`
	VLAN    int    `json:"vlan"`
	PCISlot string `json:"pci_slot"`
	Events  []struct {
		At    time.Time `json:"at"`
		Where string    `json:"where"`
		What  string    `json:"what"`
	} `json:"events"`
	Hangs  *struct{ Step, Why string } `json:"hangs"`
	Clocks string                      `json:"clocks"`
}

func traceOf(ctx context.Context, t *testing.T, api, port string) trace {
	t.Helper()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(api, "/")+"/v2.0/ports/"+port+"/trace", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer answer.Body.Close()
	var body struct{ Trace trace }
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("trace of port %s: %s, %v", port, answer.Status, err)
	}
	return body.Trace
}

// The whole way of a port on the software NIC: every step is noted, by controller and
// agent in processes of their own, and on one machine in the order of time.
func TestTraceOfAPortOnTheSoftwareNIC(t *testing.T) {
	n := newNames(t)
	ctx := t.Context()
	s, err := lab.Up(ctx, lab.Options{Names: n, VFs: 2, Progress: progress(t)})
	if err != nil {
		t.Fatal(err)
	}
	api := lab.NewAPI(s.API)
	net, err := api.CreateNetwork(ctx, "green")
	if err != nil {
		t.Fatal(err)
	}
	port, err := api.CreatePort(ctx, net, "traced", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := traceOf(ctx, t, s.API, port.ID); got.Hangs == nil || got.Hangs.Step != "bind" || len(got.Events) != 1 {
		t.Errorf("before it is bound: %+v", got)
	}
	in, err := lab.Boot(ctx, n, lab.BootOptions{Name: "a", Host: "compute1", Network: net.ID, PortID: port.ID, NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	got := traceOf(ctx, t, s.API, port.ID)
	var steps []string
	for i, e := range got.Events {
		steps = append(steps, e.Where+": "+e.What)
		if i > 0 && e.At.Before(got.Events[i-1].At) {
			t.Errorf("%s comes before %s", steps[i], steps[i-1])
		}
	}
	agent := "agent " + got.Host
	want := []string{
		"api: created", "controller: bound", "controller: told to the host", agent + ": received", agent + ": recorded on disk",
		"switch: programmed", "switch: read back as asked", "controller: report came", "controller: report committed", "api: ACTIVE",
	}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if got.Status != "ACTIVE" || got.Hangs != nil || got.Clocks != "" || got.VLAN == 0 || got.PCISlot != in.PCISlot {
		t.Errorf("%+v, instance %+v", got, in)
	}
	for i, e := range got.Events[1:] {
		t.Logf("%-40s +%s", steps[i+1], e.At.Sub(got.Events[i].At))
	}
	if err := lab.Kill(ctx, n, "a"); err != nil {
		t.Error(err)
	}
	if got = traceOf(ctx, t, s.API, port.ID); got.Hangs == nil || got.Hangs.Step != "bind" || len(got.Events) != 1 {
		t.Errorf("unbound again: %+v", got)
	}
}
