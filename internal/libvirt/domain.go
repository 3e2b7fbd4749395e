package libvirt

import (
	"context"
	"errors"
	"fmt"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
)

// State of a domain, as far as it matters to its devices.
type State string

// The states.
const (
	Running State = "running"
	Paused  State = "paused" // it has its devices, and cannot let go of them
	ShutOff State = "shut off"
)

// Domain is one of libvirt's, with the devices of the host that it has.
type Domain struct {
	Name, UUID string
	State      State
	// Persistent domains have a configuration that outlives them.
	Persistent bool
	// Devices in the order of the XML, the running domain's first.
	Devices []Device
}

// Has reports whether the domain has the interface, running or configured. It is known
// by its alias, else by its MAC together with PCI slot or netdev.
func (d Domain) Has(i Interface) bool {
	for _, dev := range d.Devices {
		if dev.is(i) {
			return true
		}
	}
	return false
}

// Domains lists every domain, running, paused or shut off, those without devices of the
// host too. Errors are ErrUnavailable, or the end of ctx.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	var out []Domain
	err := c.with(ctx, callTimeout, func(s *session) error {
		all, _, err := s.ConnectListAllDomains(1, 0)
		if err != nil {
			return fmt.Errorf("list domains: %w", reply(s.ctx, err))
		}
		for _, d := range all {
			v, err := s.look(d)
			switch {
			case errors.Is(err, ErrNoDomain): // gone meanwhile
			case err != nil:
				return err
			default:
				out = append(out, v.Domain)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Find returns the name and UUID of a domain, given one of them. Errors are ErrNoDomain,
// ErrUnavailable, or the end of ctx.
func (c *Client) Find(ctx context.Context, domain string) (name, id string, err error) {
	err = c.with(ctx, callTimeout, func(s *session) error {
		d, lerr := s.lookup(domain)
		name, id = d.Name, uuid.UUID(d.UUID).String()
		return lerr
	})
	if err != nil {
		return "", "", err
	}
	return name, id, nil
}

// Has reports whether the domain exists and has the interface, running or configured.
func (c *Client) Has(ctx context.Context, domain string, i Interface) (bool, error) {
	has := false
	err := c.with(ctx, callTimeout, func(s *session) error {
		v, err := s.find(domain)
		has = v.Has(i)
		return err
	})
	if errors.Is(err, ErrNoDomain) {
		return false, nil
	}
	return has && err == nil, err
}

// lookup finds a domain by UUID or name. A domain that is named like the UUID of another
// is found by its own UUID only.
func (s *session) lookup(domain string) (rpc.Domain, error) {
	var d rpc.Domain
	var err error = rpc.Error{Code: uint32(rpc.ErrNoDomain)}
	if id, perr := uuid.Parse(domain); perr == nil && len(domain) == 36 {
		d, err = s.DomainLookupByUUID(rpc.UUID(id))
	}
	if codeOf(err) == rpc.ErrNoDomain {
		d, err = s.DomainLookupByName(domain)
	}
	if err != nil {
		return rpc.Domain{}, fmt.Errorf("find domain %s: %w", domain, reply(s.ctx, err))
	}
	return d, nil
}

// view is a domain as it is.
type view struct {
	Domain
	id           rpc.Domain
	live, config []element // of the running domain, and of its configuration
}

func (v *view) active() bool { return v.State != ShutOff }

func (s *session) find(domain string) (view, error) {
	d, err := s.lookup(domain)
	if err != nil {
		return view{}, err
	}
	return s.look(d)
}

// look reads a domain. State, running domain and configuration are asked for one after
// the other: a change in between shows in some of them only.
func (s *session) look(d rpc.Domain) (view, error) {
	v := view{id: d, Domain: Domain{Name: d.Name, UUID: uuid.UUID(d.UUID).String()}}
	fail := func(what string, err error) (view, error) {
		return view{}, fmt.Errorf("read %s of domain %s: %w", what, d.Name, reply(s.ctx, err))
	}
	state, _, err := s.DomainGetState(d, 0)
	if err != nil {
		return fail("the state", err)
	}
	v.State = stateOf(rpc.DomainState(state))
	persistent, err := s.DomainIsPersistent(d)
	if err != nil {
		return fail("the persistence", err)
	}
	v.Persistent = persistent != 0
	if v.active() {
		if v.live, err = s.devices(d, 0); err != nil {
			return fail("the devices", err)
		}
	}
	if v.Persistent {
		if v.config, err = s.devices(d, rpc.DomainXMLInactive); err != nil {
			return fail("the configuration", err)
		}
	}
	v.Devices = merge(v.live, v.config)
	return v, nil
}

func stateOf(s rpc.DomainState) State {
	switch s {
	case rpc.DomainShutoff, rpc.DomainNostate:
		return ShutOff
	case rpc.DomainPaused, rpc.DomainPmsuspended, rpc.DomainCrashed:
		return Paused
	default:
		return Running
	}
}

func (s *session) devices(d rpc.Domain, flags rpc.DomainXMLFlags) ([]element, error) {
	text, err := s.DomainGetXMLDesc(d, flags)
	if err != nil {
		return nil, err
	}
	return readDevices(text)
}
