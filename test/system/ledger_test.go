package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// fate is what must be found of a thing at the end.
type fate int

const (
	present fate = iota // its creation was acknowledged
	absent              // its creation was refused, or its deletion acknowledged
	either              // the connection broke, or the answer was 5xx: nobody knows
)

// row is one thing that a client asked for.
type row struct {
	kind, name, id string
	fate           fate
	host           string // a port's: the last one that was acknowledged; "?" = nobody knows
}

// ledger is what the clients were promised.
type ledger struct {
	mu   sync.Mutex
	rows []*row
	acks int
}

func (l *ledger) enter(r *row) *row {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, r)
	if r.fate != either {
		l.acks++
	}
	return r
}

func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// maxBound is how many ports one client keeps on hosts at a time, so that VFs suffice.
const maxBound = 3

// customer is one client of the API that creates, binds and deletes without a pause.
type customer struct {
	t       *testing.T
	api     *api
	ledger  *ledger
	rng     *rand.Rand
	name    string
	network string // that all customers share
	hosts   []string

	n           int
	bound, free []*row // ports
	networks    []*row
}

func (c *customer) work(ctx context.Context) {
	for ctx.Err() == nil {
		var r reply
		switch op := c.rng.IntN(10); {
		case op < 2 && len(c.bound) < maxBound:
			r = c.createPort(c.host())
		case op < 4 && len(c.free) < 20:
			r = c.createPort("")
		case op < 5 && len(c.networks) < 10:
			r = c.createNetwork()
		case op < 7 && len(c.free) > 0 && len(c.bound) < maxBound:
			r = c.bind()
		case op < 8 && len(c.networks) > 0:
			r = c.remove(&c.networks)
		case op < 9 && len(c.free) > 0:
			r = c.remove(&c.free)
		case len(c.bound) > 0:
			r = c.remove(&c.bound)
		}
		if r.err != nil { // the controller is dead: somebody is about to start it again
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func (c *customer) host() string { return c.hosts[c.rng.IntN(len(c.hosts))] }

// request goes on when the test's time is over: an answer that was cut off would be
// one that nobody knows.
func (c *customer) request(method, path string, body any) reply {
	r := c.api.do(context.WithoutCancel(c.t.Context()), method, path, body)
	if r.err == nil && r.status >= 400 && r.status < 500 && r.status != http.StatusNotFound && r.status != http.StatusConflict {
		c.t.Errorf("%s: %s %s: %v", c.name, method, path, r)
	}
	return r
}

func (c *customer) create(kind string, body object) (*row, reply) {
	c.n++
	out := &row{kind: kind + "s", name: fmt.Sprintf("%s-%s-%d", c.name, kind, c.n), fate: absent}
	body["name"] = out.name
	r := c.request(http.MethodPost, "/v2.0/"+out.kind, map[string]any{kind: body})
	switch {
	case r.unknown():
		out.fate = either
	case r.status == http.StatusCreated:
		out.fate, out.id = present, str(r.object(kind)["id"])
	}
	return c.ledger.enter(out), r
}

func (c *customer) createNetwork() reply {
	row, r := c.create("network", object{})
	if row.fate == present {
		c.networks = append(c.networks, row)
	}
	return r
}

func (c *customer) createPort(host string) reply {
	body := object{"network_id": c.network, "binding:vnic_type": "direct", "device_owner": "compute:nova"}
	if host != "" {
		body["binding:host_id"] = host
	}
	row, r := c.create("port", body)
	row.host = host
	if row.fate != present {
		return r
	}
	if host != "" {
		c.bound = append(c.bound, row)
	} else {
		c.free = append(c.free, row)
	}
	return r
}

func (c *customer) bind() reply {
	i := c.rng.IntN(len(c.free))
	row, host := c.free[i], c.host()
	c.free = append(c.free[:i], c.free[i+1:]...)
	c.bound = append(c.bound, row)
	r := c.request(http.MethodPut, "/v2.0/ports/"+row.id, map[string]any{"port": object{"binding:host_id": host}})
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	switch {
	case r.unknown():
		row.host = "?"
	case r.status == http.StatusOK:
		row.host = host
		c.ledger.acks++
	}
	return r
}

func (c *customer) remove(from *[]*row) reply {
	i := c.rng.IntN(len(*from))
	row := (*from)[i]
	r := c.request(http.MethodDelete, "/v2.0/"+row.kind+"/"+row.id, nil)
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	switch {
	case r.unknown():
		row.fate = either // asked again later: 404 says that it was carried out
	case r.status == http.StatusNoContent, r.status == http.StatusNotFound && row.fate == either:
		row.fate = absent
		*from = append((*from)[:i], (*from)[i+1:]...)
		c.ledger.acks++
	case r.status == http.StatusNotFound:
		c.t.Errorf("%s %s was acknowledged and is gone", row.kind, row.name)
		*from = append((*from)[:i], (*from)[i+1:]...)
	}
	return r
}

// check holds the promises against what is there, and looks for anything given twice.
func (l *ledger) check(t *testing.T, a *api) {
	t.Helper()
	there := map[string]map[string]object{"networks": a.list(t, "networks"), "ports": a.list(t, "ports")}
	names := map[string]int{}
	for _, objects := range there {
		for _, o := range objects {
			names[str(o["name"])]++
		}
	}
	for _, r := range l.rows {
		o, found := there[r.kind][r.id]
		switch {
		case r.fate == present && (!found || o["name"] != r.name):
			t.Errorf("%s %s (%s) was acknowledged and is not there", r.kind, r.name, r.id)
		case r.fate == absent && (found || names[r.name] > 0):
			t.Errorf("%s %s (%s) was deleted or refused, and is there", r.kind, r.name, r.id)
		case names[r.name] > 1:
			t.Errorf("%s %s is there %d times", r.kind, r.name, names[r.name])
		case found && r.kind == "ports" && r.host != "?" && str(o["binding:host_id"]) != r.host:
			t.Errorf("port %s is on host %q; %q was acknowledged", r.name, o["binding:host_id"], r.host)
		}
	}
	once := map[string]string{}
	given := func(what, who string) {
		if other, twice := once[what]; twice {
			t.Errorf("%s is given to both %s and %s", what, other, who)
		}
		once[what] = who
	}
	for id, n := range there["networks"] {
		if n["provider:network_type"] == "vlan" {
			given(fmt.Sprintf("VLAN %v of %v", n["provider:segmentation_id"], n["provider:physical_network"]), id)
		}
	}
	for id, p := range there["ports"] {
		given(fmt.Sprintf("MAC %v in network %v", p["mac_address"], p["network_id"]), id)
		given(fmt.Sprintf("address %s in network %v", addressOf(p), p["network_id"]), id)
		slot := detail(p, "pci_slot")
		if profile, ok := p["binding:profile"].(map[string]any); ok && profile["pci_slot"] != nil {
			slot = str(profile["pci_slot"])
		}
		if slot != "" {
			given(fmt.Sprintf("VF %s of %v", slot, p["binding:host_id"]), id)
		}
	}
}
