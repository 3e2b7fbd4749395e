package neutron

import (
	"context"
	"errors"
	"math/big"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

var errSoon = errors.ErrUnsupported

const defaultGroupName = "default"

func isNetworkOwned(owner string) bool { return false }
func appendNew(s []string, k string) []string { return append(s, k) }

type reservations struct{}

func newReservations() *reservations { return &reservations{} }

// CreateNetworks makes all of d or none.
func (s *Service) CreateNetworks(ctx context.Context, who model.Actor, d []Draft[model.Network]) ([]*model.Network, error) {
	return nil, errSoon
}
func (s *Service) UpdateNetwork(ctx context.Context, who model.Actor, id string, c Change[model.Network]) (*model.Network, error) {
	return nil, errSoon
}
func (s *Service) DeleteNetwork(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreateSubnets(ctx context.Context, who model.Actor, d []Draft[model.Subnet]) ([]*model.Subnet, error) {
	return nil, errSoon
}
func (s *Service) UpdateSubnet(ctx context.Context, who model.Actor, id string, c Change[model.Subnet]) (*model.Subnet, error) {
	return nil, errSoon
}
func (s *Service) DeleteSubnet(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreatePorts(ctx context.Context, who model.Actor, d []Draft[model.Port]) ([]*model.Port, error) {
	return nil, errSoon
}
func (s *Service) UpdatePort(ctx context.Context, who model.Actor, id string, c Change[model.Port]) (*model.Port, error) {
	return nil, errSoon
}
func (s *Service) DeletePort(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreateSubnetPools(ctx context.Context, who model.Actor, d []Draft[model.SubnetPool]) ([]*model.SubnetPool, error) {
	return nil, errSoon
}
func (s *Service) UpdateSubnetPool(ctx context.Context, who model.Actor, id string, c Change[model.SubnetPool]) (*model.SubnetPool, error) {
	return nil, errSoon
}
func (s *Service) DeleteSubnetPool(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreateSecurityGroups(ctx context.Context, who model.Actor, d []Draft[model.SecurityGroup]) ([]*model.SecurityGroup, error) {
	return nil, errSoon
}
func (s *Service) UpdateSecurityGroup(ctx context.Context, who model.Actor, id string, c Change[model.SecurityGroup]) (*model.SecurityGroup, error) {
	return nil, errSoon
}
func (s *Service) DeleteSecurityGroup(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreateSecurityGroupRules(ctx context.Context, who model.Actor, d []Draft[model.SecurityGroupRule]) ([]*model.SecurityGroupRule, error) {
	return nil, errSoon
}
func (s *Service) DeleteSecurityGroupRule(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}
func (s *Service) CreateAddressGroups(ctx context.Context, who model.Actor, d []Draft[model.AddressGroup]) ([]*model.AddressGroup, error) {
	return nil, errSoon
}
func (s *Service) UpdateAddressGroup(ctx context.Context, who model.Actor, id string, c Change[model.AddressGroup]) (*model.AddressGroup, error) {
	return nil, errSoon
}
func (s *Service) DeleteAddressGroup(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return errSoon
}

// AddAddresses and RemoveAddresses are PUT /address-groups/{id}/add_addresses and remove_addresses.
func (s *Service) AddAddresses(ctx context.Context, who model.Actor, id string, addresses []string) (*model.AddressGroup, error) {
	return nil, errSoon
}
func (s *Service) RemoveAddresses(ctx context.Context, who model.Actor, id string, addresses []string) (*model.AddressGroup, error) {
	return nil, errSoon
}

// AddPrefixes and RemovePrefixes are PUT /subnetpools/{id}/add_prefixes and remove_prefixes; they return the pool's prefixes.
func (s *Service) AddPrefixes(ctx context.Context, who model.Actor, id string, prefixes []string) (*model.SubnetPool, error) {
	return nil, errSoon
}
func (s *Service) RemovePrefixes(ctx context.Context, who model.Actor, id string, prefixes []string) (*model.SubnetPool, error) {
	return nil, errSoon
}
func (s *Service) UpdateAgent(ctx context.Context, who model.Actor, id string, c Change[model.Agent]) (*model.Agent, error) {
	return nil, errSoon
}
func (s *Service) DeleteAgent(ctx context.Context, who model.Actor, id string) error { return errSoon }

// SetTags edits the tags of a resource; kind is its collection ("networks", "security-groups", ...).
func (s *Service) SetTags(ctx context.Context, who model.Actor, kind, id string, edit func([]string) []string) ([]string, error) {
	return nil, errSoon
}

// QuotaResources are the names that a quota may have, sorted.
func (s *Service) QuotaResources() []string { return nil }
func (s *Service) SetQuota(ctx context.Context, who model.Actor, project string, limits map[string]int) (map[string]int, error) {
	return nil, errSoon
}
func (s *Service) DeleteQuota(ctx context.Context, who model.Actor, project string) error {
	return errSoon
}
func (s *Service) QuotaFor(snap store.Snapshot, project string) map[string]int { return nil }
func (s *Service) DefaultQuota() map[string]int                                { return nil }

// QuotaDetail is one line of GET /quotas/{project}/details.
type QuotaDetail struct{ Limit, Used, Reserved int }

func (s *Service) QuotaDetails(snap store.Snapshot, project string) map[string]QuotaDetail { return nil }

// NetworkAvailability is one row of /network-ip-availabilities.
type NetworkAvailability struct {
	Network *model.Network
	Subnets []SubnetAvailability
	Total   *big.Int
	Used    int64
}

// SubnetAvailability is one subnet of it.
type SubnetAvailability struct {
	Subnet *model.Subnet
	Total  *big.Int
	Used   int64
}

// IPAvailability counts addresses; ipVersion 0 = both families.
func (s *Service) IPAvailability(snap store.Snapshot, ipVersion int) []NetworkAvailability { return nil }

// NetworkIPAvailability is the row of one network.
func (s *Service) NetworkIPAvailability(snap store.Snapshot, networkID string) (NetworkAvailability, bool) {
	return NetworkAvailability{}, false
}

// Zone is one availability zone.
type Zone struct {
	Name     string
	Resource string // "network" | "router"
	State    string // "available" | "unavailable"
}

func (s *Service) AvailabilityZones(snap store.Snapshot) []Zone { return nil }

// NetworkZones are the zones of the agents that serve the network (availability_zones).
func (s *Service) NetworkZones(snap store.Snapshot, networkID string) []string { return nil }
func (s *Service) EnsureDefaultGroup(ctx context.Context, project string) (*model.SecurityGroup, error) {
	return nil, errSoon
}
func (s *Service) Alive(snap store.Snapshot, agentID string) bool { return false }
func (s *Service) AgentUp(ctx context.Context, a model.Agent, lease store.Lease) (*model.Agent, error) {
	return nil, errSoon
}
func (s *Service) AgentBeat(ctx context.Context, agentID string) error  { return errSoon }
func (s *Service) RebindHost(ctx context.Context, host string) error    { return errSoon }
func (s *Service) ReportPorts(ctx context.Context, host string, r []model.PortReport) error {
	return errSoon
}
func (s *Service) Attachments(snap store.Snapshot, host string) ([]*model.Attachment, <-chan struct{}) {
	return nil, nil
}
func (s *Service) DHCPNetworks(snap store.Snapshot, agentID string) ([]*model.DHCPNetwork, <-chan struct{}) {
	return nil, nil
}
func (s *Service) RunScheduler(ctx context.Context) error { return errSoon }
