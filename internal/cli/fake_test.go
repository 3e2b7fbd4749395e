package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// fake is a Networking API as the client sees it: objects in memory, filters by
// equality, pages of two, Neutron's error bodies.
type fake struct {
	mu   sync.Mutex
	rows map[string][]object
	last int
}

func newFake() *httptest.Server {
	f := &fake{rows: map[string][]object{
		"agents": {
			{"id": fakeID(901), "agent_type": "NIC Switch agent", "host": "compute1", "alive": true, "admin_state_up": true, "availability_zone": "nova", "heartbeat_timestamp": "2026-01-02 03:04:05"},
			{"id": fakeID(902), "agent_type": "NIC Switch agent", "host": "compute2", "alive": false, "admin_state_up": true, "availability_zone": "nova", "heartbeat_timestamp": "2026-01-02 03:00:00"},
			{"id": fakeID(903), "agent_type": "DHCP agent", "host": "network1", "alive": true, "admin_state_up": true, "availability_zone": nil, "heartbeat_timestamp": "2026-01-02 03:04:06"},
			{"id": fakeID(904), "agent_type": "NIC Switch agent", "host": "network1", "alive": true, "admin_state_up": true, "availability_zone": nil, "heartbeat_timestamp": "2026-01-02 03:04:06"},
		},
		"security-groups": {{"id": fakeID(801), "name": "web"}},
	}}
	return httptest.NewServer(f)
}

func fakeID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 || parts[0] != "v2.0" {
		http.Error(w, "no such path "+r.URL.Path, http.StatusNotFound)
		return
	}
	collection := parts[1]
	at := -1
	if len(parts) > 2 {
		if at = slices.IndexFunc(f.rows[collection], func(x object) bool { return x["id"] == parts[2] }); at < 0 {
			refuse(w, 404, "NotFound", fmt.Sprintf("%s %s could not be found.", collection, parts[2]))
			return
		}
	}
	var body object
	if r.Body != nil {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	singular := strings.ReplaceAll(strings.TrimSuffix(collection, "s"), "-", "_")
	sent, _ := body[singular].(object)
	switch {
	case r.Method == http.MethodGet && at < 0:
		f.list(w, r, collection)
	case r.Method == http.MethodGet && len(parts) == 4 && parts[3] == "trace":
		answer(w, 200, fakeTrace(f.rows[collection][at]))
	case r.Method == http.MethodGet:
		answer(w, 200, object{singular: f.rows[collection][at]})
	case r.Method == http.MethodPost:
		f.create(w, collection, singular, sent)
	case r.Method == http.MethodPut && len(parts) == 4:
		f.rows[collection][at]["tags"] = body["tags"]
		answer(w, 200, object{"tags": body["tags"]})
	case r.Method == http.MethodPut:
		for k, v := range sent {
			f.rows[collection][at][k] = v
		}
		answer(w, 200, object{singular: f.rows[collection][at]})
	case r.Method == http.MethodDelete:
		if collection == "networks" && slices.ContainsFunc(f.rows["ports"], func(p object) bool { return p["network_id"] == parts[2] }) {
			refuse(w, 409, "NetworkInUse", "Unable to complete operation on network "+parts[2]+". There are one or more ports still in use on the network.")
			return
		}
		f.rows[collection] = slices.Delete(f.rows[collection], at, at+1)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fake) create(w http.ResponseWriter, collection, singular string, x object) {
	switch x["name"] {
	case "bad":
		refuse(w, 400, "InvalidInput", "Invalid input for operation: bad.")
		return
	case "full":
		refuse(w, 409, "OverQuota", "Quota exceeded for resources: ['"+singular+"'].")
		return
	case "gone":
		refuse(w, 503, "ServiceUnavailable", "The store is not available.")
		return
	}
	f.last++
	x["id"], x["status"] = fakeID(f.last), "ACTIVE"
	for k, v := range map[string]object{
		"networks": {
			"mtu": 1500, "subnets": []any{}, "shared": false, "admin_state_up": true, "router:external": false,
			"provider:network_type": "vlan", "provider:physical_network": "default", "provider:segmentation_id": 100 + f.last,
		},
		"ports": {"mac_address": "fa:16:3e:00:00:01", "binding:vif_type": "unbound"},
	}[collection] {
		if _, given := x[k]; !given {
			x[k] = v
		}
	}
	f.rows[collection] = append(f.rows[collection], x)
	answer(w, 201, object{singular: x})
}

func (f *fake) list(w http.ResponseWriter, r *http.Request, collection string) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("marker"))
	q.Del("marker")
	keys := q["sort_key"]
	for _, k := range []string{"fields", "sort_key", "sort_dir"} {
		q.Del(k)
	}
	found := []object{}
	for _, x := range f.rows[collection] {
		ok := true
		for k, v := range q {
			ok = ok && slices.Contains(v, fmt.Sprint(x[k]))
		}
		if ok {
			found = append(found, x)
		}
	}
	for _, k := range keys {
		slices.SortStableFunc(found, func(a, b object) int { return strings.Compare(fmt.Sprint(a[k]), fmt.Sprint(b[k])) })
	}
	body := object{collection: found[min(from, len(found)):min(from+2, len(found))]}
	if from+2 < len(found) {
		next := *r.URL
		values := next.Query()
		values.Set("marker", strconv.Itoa(from+2))
		next.RawQuery, next.Host, next.Scheme = values.Encode(), r.Host, "http"
		body[collection+"_links"] = []any{object{"rel": "next", "href": next.String()}}
	}
	if collection == "security-groups" {
		body = object{"security_groups": found}
	}
	answer(w, 200, body)
}

func answer(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	answer(w, status, object{"NeutronError": object{"type": kind, "message": message, "detail": ""}})
}

// fakeTrace is the way of a port that came to its host and no further.
func fakeTrace(p object) object {
	return object{"trace": object{
		"port_id": p["id"], "name": p["name"], "status": "DOWN", "mac_address": p["mac_address"], "host": "compute1", "vlan": 101,
		"events": []any{
			object{"at": "2026-01-02T03:04:05.000001Z", "where": "api", "what": "created"},
			object{"at": "2026-01-02T03:04:05.001501Z", "where": "controller", "what": "bound", "took_ms": 1.5, "detail": "to host compute1"},
		},
		"hangs": object{"step": "report", "why": "host compute1 has not reported", "next": "the log of the agent"},
	}}
}
