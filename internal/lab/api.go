package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// API is the lab's controller as any client sees it: gophercloud, without Keystone.
type API struct {
	url string
	c   *gophercloud.ServiceClient
}

// NewAPI returns a client of the Networking API at url (http://127.0.0.1:9696).
func NewAPI(url string) *API {
	p := &gophercloud.ProviderClient{HTTPClient: http.Client{Timeout: 30 * time.Second}}
	return &API{url: url, c: &gophercloud.ServiceClient{
		ProviderClient: p, Endpoint: url + "/", ResourceBase: url + "/v2.0/", Type: "network",
	}}
}

// Answers reports whether the API is there.
func (a *API) Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/v2.0/networks?limit=1", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Agents lists the agents.
func (a *API) Agents(ctx context.Context) ([]agents.Agent, error) {
	page, err := agents.List(a.c, nil).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	return agents.ExtractAgents(page)
}

// AliveAgents counts those that are alive.
func (a *API) AliveAgents(ctx context.Context) (int, error) {
	all, err := a.Agents(ctx)
	n := 0
	for _, x := range all {
		if x.Alive {
			n++
		}
	}
	return n, err
}

// Network is what the lab asks of a network.
type Network struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	VLAN string `json:"vlan"`
}

type networkWithProvider struct {
	networks.Network
	provider.NetworkProviderExt
}

// CreateNetwork makes a tenant network, as a project does: without saying a VLAN.
func (a *API) CreateNetwork(ctx context.Context, name string) (Network, error) {
	var out networkWithProvider
	err := networks.Create(ctx, a.c, networks.CreateOpts{Name: name}).ExtractInto(&out)
	if err != nil {
		return Network{}, fmt.Errorf("create network %s: %w", name, err)
	}
	return Network{ID: out.ID, Name: out.Name, VLAN: out.SegmentationID}, nil
}

// CreateSubnet with DHCP and the given pool.
func (a *API) CreateSubnet(ctx context.Context, n Network, cidr netip.Prefix, from, to netip.Addr) error {
	gateway := cidr.Addr().Next().String()
	_, err := subnets.Create(ctx, a.c, subnets.CreateOpts{
		NetworkID: n.ID, Name: n.Name, IPVersion: gophercloud.IPv4, CIDR: cidr.String(), GatewayIP: &gateway,
		AllocationPools: []subnets.AllocationPool{{Start: from.String(), End: to.String()}},
	}).Extract()
	if err != nil {
		return fmt.Errorf("create subnet %s of network %s: %w", cidr, n.Name, err)
	}
	return nil
}

// FindNetwork by id or name.
func (a *API) FindNetwork(ctx context.Context, ref string) (Network, error) {
	opts := networks.ListOpts{Name: ref}
	if uuid.Validate(ref) == nil {
		opts = networks.ListOpts{ID: ref}
	}
	page, err := networks.List(a.c, opts).AllPages(ctx)
	if err != nil {
		return Network{}, fmt.Errorf("find network %s: %w", ref, err)
	}
	var found []networkWithProvider
	if err := networks.ExtractNetworksInto(page, &found); err != nil {
		return Network{}, fmt.Errorf("find network %s: %w", ref, err)
	}
	if len(found) != 1 {
		return Network{}, fmt.Errorf("find network %s: there are %d of that name or id", ref, len(found))
	}
	return Network{ID: found[0].ID, Name: found[0].Name, VLAN: found[0].SegmentationID}, nil
}

// Port is what the lab needs of a port.
type Port struct {
	ports.Port
	portsbinding.PortsBindingExt
}

// CreatePort as Nova does for an instance with a VF: not bound yet.
func (a *API) CreatePort(ctx context.Context, n Network, name, device string) (*Port, error) {
	var out Port
	err := ports.Create(ctx, a.c, portsbinding.CreateOptsExt{
		CreateOptsBuilder: ports.CreateOpts{NetworkID: n.ID, Name: name, DeviceID: device, DeviceOwner: "compute:nova"},
		VNICType:          "direct",
	}).ExtractInto(&out)
	if err != nil {
		return nil, fmt.Errorf("create port %s on network %s: %w", name, n.Name, err)
	}
	return &out, nil
}

// GetPort by id.
func (a *API) GetPort(ctx context.Context, id string) (*Port, error) {
	var out Port
	if err := ports.Get(ctx, a.c, id).ExtractInto(&out); err != nil {
		return nil, fmt.Errorf("show port %s: %w", id, err)
	}
	return &out, nil
}

// Ports of a network; network "" = all.
func (a *API) Ports(ctx context.Context, network string) ([]Port, error) {
	page, err := ports.List(a.c, ports.ListOpts{NetworkID: network}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	var out []Port
	if err := ports.ExtractPortsInto(page, &out); err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	return out, nil
}

// BindPort tells the port its host and VF, as Nova's compute host does, and what the
// instance is to be told by metadata; instance nil = nothing.
func (a *API) BindPort(ctx context.Context, id, host, slot, device string, instance map[string]any) (*Port, error) {
	profile := map[string]any{"pci_slot": slot, "physical_network": PhysicalNetwork, "pci_vendor_info": "15b3:1004"}
	if instance != nil {
		profile["instance"] = instance
	}
	var out Port
	owner := "compute:nova"
	err := ports.Update(ctx, a.c, id, portsbinding.UpdateOptsExt{
		UpdateOptsBuilder: ports.UpdateOpts{DeviceID: &device, DeviceOwner: &owner},
		HostID:            &host,
		Profile:           profile,
	}).ExtractInto(&out)
	if err != nil {
		return nil, fmt.Errorf("bind port %s to host %s: %w", id, host, err)
	}
	if out.VIFType == "binding_failed" || out.VIFType == "unbound" {
		return nil, fmt.Errorf("bind port %s to host %s: vif_type is %s", id, host, out.VIFType)
	}
	return &out, nil
}

// UnbindPort takes a port that somebody else made off its host.
func (a *API) UnbindPort(ctx context.Context, id string) error {
	empty := ""
	_, err := ports.Update(ctx, a.c, id, portsbinding.UpdateOptsExt{
		UpdateOptsBuilder: ports.UpdateOpts{DeviceID: &empty, DeviceOwner: &empty},
		HostID:            &empty,
		Profile:           map[string]any{},
	}).Extract()
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unbind port %s: %w", id, err)
	}
	return nil
}

// DeletePort; one that is gone is no error.
func (a *API) DeletePort(ctx context.Context, id string) error {
	if err := ports.Delete(ctx, a.c, id).ExtractErr(); err != nil && !gone(err) {
		return fmt.Errorf("delete port %s: %w", id, err)
	}
	return nil
}

// DeleteNetwork with its subnets; one that is gone is no error.
func (a *API) DeleteNetwork(ctx context.Context, id string) error {
	if err := networks.Delete(ctx, a.c, id).ExtractErr(); err != nil && !gone(err) {
		return fmt.Errorf("delete network %s: %w", id, err)
	}
	return nil
}

func gone(err error) bool {
	var code gophercloud.ErrUnexpectedResponseCode
	return errors.As(err, &code) && code.Actual == http.StatusNotFound
}

// waitPort polls until the port is as wanted.
func (a *API) waitPort(ctx context.Context, id, what string, ok func(*Port) bool) (*Port, error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := a.GetPort(ctx, id)
		if err != nil {
			return nil, err
		}
		if ok(p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for port %s to be %s: it is %s: %w", id, what, p.Status, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
