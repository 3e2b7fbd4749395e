package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever was asked before, and whoever meddled, the database ends as the last desired state
// has it, and what somebody else made is as that left it.
func TestAnySequenceEndsAtTheLastDesiredState(t *testing.T) {
	r := start(t)
	r.settle()
	r.Vsctl("add-port", br, "foreign", "tag=7", "--", "set", "Interface", "foreign", "type=internal")
	untouched := r.rows("Port", "name,tag,external_ids,other_config")["foreign"]
	rapid.Check(t, func(rt *rapid.T) {
		var last []Port
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			last = drawPorts(rt)
			for _, disturb := range drawMeddling(rt, last) {
				_ = r.Try("ovs-vsctl", append([]string{"--db=" + r.Endpoint(), "--no-wait"}, disturb...)...)
			}
			r.setOnce(rt, last)
		}
		r.setOnce(rt, last) // sees what was meddled with last
		r.check(rt, last, untouched)
	})
}

func drawPorts(rt *rapid.T) []Port {
	var out []Port
	for n := 1; n <= 5; n++ {
		if !rapid.Bool().Draw(rt, "wanted") {
			continue
		}
		p := port(n, rapid.SampledFrom([]int{0, 1, 101, 4094}).Draw(rt, "vlan"))
		p.MTU = rapid.SampledFrom([]int{0, 1450, 9000}).Draw(rt, "mtu")
		if n == 5 { // an instance's, which nobody plugs
			p.Internal = false
		}
		out = append(out, p)
	}
	return out
}

func drawMeddling(rt *rapid.T, ports []Port) [][]string {
	if len(ports) == 0 || !rapid.Bool().Draw(rt, "meddled") {
		return nil
	}
	name := Name(rapid.SampledFrom(ports).Draw(rt, "victim").ID)
	return [][]string{rapid.SampledFrom([][]string{
		{"set", "Port", name, "tag=5"},
		{"clear", "Port", name, "tag"},
		{"del-port", name},
		{"clear", "Port", name, "other_config"},
		{"set", "Interface", name, "mtu_request=1000"},
		{"remove", "Interface", name, "external_ids", "iface-id"},
		{"set", "Port", "eth6", "tag=3"},
	}).Draw(rt, "how")}
}

func (r *rack) setOnce(rt *rapid.T, ports []Port) {
	_, err := r.Set(context.Background(), ports)
	for errors.Is(err, ErrUnavailable) {
		_, err = r.Set(context.Background(), ports)
	}
	// Somebody's change that the monitor had not shown yet may collide: then all is as it was.
	if err != nil {
		rt.Logf("%v", err)
	}
}

func (r *rack) check(rt *rapid.T, want []Port, foreign map[string]string) {
	names := []string{br, "eth6", "foreign"}
	for _, p := range want {
		if p.Internal {
			names = append(names, Name(p.ID))
		}
	}
	slices.Sort(names)
	var err error
	var ports, faces map[string]map[string]string
	wrong := func() string {
		if _, err = r.Set(context.Background(), want); err != nil {
			return err.Error()
		}
		ports, faces = r.rows("Port", "name,tag,external_ids,other_config"), r.rows("Interface", "name,external_ids,mtu_request")
		if have := slices.Sorted(maps.Keys(ports)); !slices.Equal(have, names) {
			return fmt.Sprintf("ports %v, want %v", have, names)
		}
		if !maps.Equal(ports["foreign"], foreign) || ports["eth6"]["tag"] != `["set",[]]` {
			return fmt.Sprintf("not ours: %v, %v", ports["foreign"], ports["eth6"])
		}
		for _, p := range want {
			if bad := mismatch(p, ports[Name(p.ID)], faces[Name(p.ID)]); p.Internal && bad != "" {
				return bad
			}
		}
		return ""
	}
	last := ""
	eventuallyRapid(rt, func() bool { last = wrong(); return last == "" }, func() string { return last })
}

func mismatch(p Port, row, face map[string]string) string {
	tag := fmt.Sprint(p.VLAN)
	switch {
	case row["tag"] != tag:
		return fmt.Sprintf("%s has tag %s, want %s", Name(p.ID), row["tag"], tag)
	case !strings.Contains(row["external_ids"], `["neutrino","`+p.ID+`"]`), !strings.Contains(row["other_config"], `["transient","true"]`):
		return fmt.Sprintf("%s is not marked: %v", Name(p.ID), row)
	case !strings.Contains(face["external_ids"], `["iface-id","`+p.ID+`"]`):
		return fmt.Sprintf("interface of %s: %v", Name(p.ID), face)
	case p.MTU != 0 && face["mtu_request"] != fmt.Sprint(p.MTU):
		return fmt.Sprintf("%s has MTU %s, want %d", Name(p.ID), face["mtu_request"], p.MTU)
	}
	return ""
}

// eventuallyRapid allows for the monitor's being behind what a test has changed by itself.
func eventuallyRapid(rt *rapid.T, f func() bool, why func() string) {
	for tries := 0; !f(); tries++ {
		if tries > 200 {
			rt.Fatal(why())
		}
	}
}

// rows reads a table: name -> column -> value as JSON.
func (r *rack) rows(table, columns string) map[string]map[string]string {
	var t struct {
		Headings []string            `json:"headings"`
		Data     [][]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(r.Vsctl("-f", "json", "--columns="+columns, "list", table)), &t); err != nil {
		r.t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, row := range t.Data {
		one := map[string]string{}
		for i, h := range t.Headings {
			one[h] = string(row[i])
		}
		out[strings.Trim(one["name"], `"`)] = one
	}
	return out
}
