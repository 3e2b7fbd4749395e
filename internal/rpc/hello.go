package rpc

import (
	"encoding/json"
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// Hello is what an agent says of its host.
type Hello struct {
	Host     string
	Instance string // a new random name per start
	Version  string
	Roles    []model.Agent // Type, Binary, Topic, AvailabilityZone, Configurations, Host
	Epoch    string        // of the state the agent holds; "" = none
	Revision uint64

	SharedFilters bool // the agent takes what Sharing encodes
}

// EncodeHello converts to the wire; it fails when configurations are no JSON.
func EncodeHello(h Hello) (*fabricv1.Hello, error) {
	roles, err := EncodeRoles(h.Roles)
	if err != nil {
		return nil, err
	}
	out := &fabricv1.Hello{Host: h.Host, Instance: h.Instance, Version: h.Version, Roles: roles, SharedFilters: h.SharedFilters}
	if h.Epoch != "" {
		out.Resume = &fabricv1.Resume{Epoch: h.Epoch, Revision: h.Revision}
	}
	return out, nil
}

// DecodeHello converts from the wire and validates every field.
func DecodeHello(in *fabricv1.Hello) (Hello, error) {
	if err := CheckHost(in.GetHost()); err != nil {
		return Hello{}, err
	}
	var c checks
	c.id("instance", in.GetInstance())
	c.text("version", in.GetVersion(), 255)
	if in.GetResume() != nil {
		c.id("resume.epoch", in.GetResume().GetEpoch())
	}
	if len(in.GetRoles()) == 0 {
		c.fail("roles", "missing")
	}
	if c.failed() {
		return Hello{}, c.err
	}
	roles, err := DecodeRoles(in.GetHost(), in.GetRoles())
	if err != nil {
		return Hello{}, err
	}
	return Hello{
		Host: in.GetHost(), Instance: in.GetInstance(), Version: in.GetVersion(), Roles: roles,
		Epoch: in.GetResume().GetEpoch(), Revision: in.GetResume().GetRevision(), SharedFilters: in.GetSharedFilters(),
	}, nil
}

// EncodeRoles converts to the wire; it fails when configurations are no JSON.
func EncodeRoles(roles []model.Agent) ([]*fabricv1.Role, error) {
	var out []*fabricv1.Role
	for _, r := range roles {
		conf := r.Configurations
		if conf == nil {
			conf = map[string]any{}
		}
		text, err := json.Marshal(conf)
		if err != nil {
			return nil, fmt.Errorf("encode configurations of %s: %w", r.Type, err)
		}
		out = append(out, &fabricv1.Role{
			AgentType: r.Type, Binary: r.Binary, Topic: r.Topic,
			AvailabilityZone: r.AvailabilityZone, Configurations: string(text),
		})
	}
	return out, nil
}

// DecodeRoles converts from the wire; each role becomes an agent of the host. Roles are
// of the types that hosts of neutrino have, each at most once.
func DecodeRoles(host string, in []*fabricv1.Role) ([]model.Agent, error) {
	var c checks
	if !c.count("roles", len(in), MaxRoles) {
		return nil, c.err
	}
	seen := map[string]bool{}
	var out []model.Agent
	for _, r := range in {
		switch r.GetAgentType() {
		case model.AgentNICSwitch, model.AgentOpenVSwitch, model.AgentDHCP, model.AgentL3:
		default:
			c.fail("roles.agent_type", "unknown type %.80q", r.GetAgentType())
		}
		if seen[r.GetAgentType()] {
			c.fail("roles.agent_type", "%.80q is said twice", r.GetAgentType())
		}
		seen[r.GetAgentType()] = true
		if c.text("roles.binary", r.GetBinary(), 255); r.GetBinary() == "" {
			c.fail("roles.binary", "missing")
		}
		c.text("roles.topic", r.GetTopic(), 255)
		c.text("roles.availability_zone", r.GetAvailabilityZone(), 255)
		c.text("roles.configurations", r.GetConfigurations(), maxJSON)
		var conf map[string]any
		if !c.failed() {
			if err := json.Unmarshal([]byte(r.GetConfigurations()), &conf); err != nil || conf == nil {
				c.fail("roles.configurations", "not a JSON object")
			}
		}
		out = append(out, model.Agent{
			Type: r.GetAgentType(), Binary: r.GetBinary(), Topic: r.GetTopic(), Host: host,
			AvailabilityZone: r.GetAvailabilityZone(), Configurations: conf, AdminStateUp: true,
		})
	}
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}
