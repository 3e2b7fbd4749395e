package neutron

import (
	"context"
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// CreateNetworks makes all of d or none, each with its segments and, when it is the first
// thing in its project, the project's default security group.
func (s *Service) CreateNetworks(ctx context.Context, who model.Actor, d []Draft[model.Network]) ([]*model.Network, error) {
	ids, release, err := reserve(s, quotaNetwork, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.Network, len(d))
	err = s.update(ctx, "creating networks", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			n, draftErr := s.createNetwork(a, d[i], ids[i])
			if draftErr != nil {
				return draftErr
			}
			out[i] = n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) createNetwork(a *attempt, d Draft[model.Network], id string) (*model.Network, error) {
	n := d.Value.Clone()
	s.stamp(&n.Meta)
	n.ID, n.Status = id, model.StatusActive
	if err := s.checkZoneHints(a, n.AvailabilityZoneHints, zoneOfNetworks); err != nil {
		return nil, err
	}
	segments, err := s.chooseSegments(a, d, n)
	if err != nil {
		return nil, err
	}
	n.Segments = segments
	if n.MTU, err = s.networkMTU(n.MTU, segments); err != nil {
		return nil, err
	}
	if err := s.setDefaultNetwork(a, n, n.IsDefault); err != nil {
		return nil, err
	}
	s.defaultGroupOf(a, n.ProjectID)
	s.t.Networks.Put(a.Tx, n)
	s.t.Layouts.Put(a.Tx, &Layout{NetworkID: id, Version: 1})
	return n, nil
}

// chooseSegments validates the asked-for segments or allocates a tenant's, and claims them.
func (s *Service) chooseSegments(a *attempt, d Draft[model.Network], n *model.Network) ([]model.Segment, error) {
	provider := d.Given[ml2.AttrNetworkType] || d.Given[ml2.AttrPhysicalNetwork] || d.Given[ml2.AttrSegmentationID]
	list, multi := d.Extra["segments"].([]model.Segment)
	if !multi && d.Given["segments"] {
		list, multi = d.Value.Segments, true
	}
	taken := func(c ml2.Claim) bool { return a.held(c.Kind, c.Key) }
	var segments []model.Segment
	var err error
	switch {
	case multi && provider:
		return nil, fault.SegmentsWithProvider()
	case multi && len(list) > 0:
		given := make([]map[string]bool, len(list))
		for i := range list {
			given[i] = givenSegment(list[i])
		}
		segments, err = s.ml2.ProviderSegments(list, given, taken, a.rnd)
	case provider:
		var asked model.Segment
		if len(d.Value.Segments) > 0 {
			asked = d.Value.Segments[0]
		}
		segments = make([]model.Segment, 1)
		segments[0], err = s.ml2.ProviderSegment(asked, d.Given, taken, a.rnd)
	default:
		segments = make([]model.Segment, 1)
		segments[0], err = s.ml2.TenantSegment(n.External, taken, a.rnd)
	}
	if err != nil {
		return nil, err
	}
	for i := range segments {
		segments[i].ID = newID()
		if err := s.claimSegment(a, segments[i], n.ID); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

func (s *Service) claimSegment(a *attempt, segment model.Segment, network string) error {
	for _, c := range s.ml2.SegmentClaims(segment) {
		if !a.take(c.Kind, c.Key, network) {
			return s.ml2.InUse(c)
		}
	}
	return nil
}

func givenSegment(seg model.Segment) map[string]bool {
	return map[string]bool{
		ml2.AttrNetworkType:     seg.NetworkType != "",
		ml2.AttrPhysicalNetwork: seg.PhysicalNetwork != "",
		ml2.AttrSegmentationID:  seg.SegmentationID != 0,
	}
}

// networkMTU returns the MTU of a network that asked for one (0 = the largest).
func (s *Service) networkMTU(asked int, segments []model.Segment) (int, error) {
	mtu, err := s.ml2.NetworkMTU(segments, asked)
	if err == nil && mtu == 0 {
		mtu = defaultMTU
	}
	return mtu, err
}

// defaultMTU is what a network gets where the configuration sets no limit at all.
const defaultMTU = 1500

// setDefaultNetwork claims or gives back being the one default external network.
// is_default of a network that is not external is ignored, as in Neutron.
func (s *Service) setDefaultNetwork(a *attempt, n *model.Network, want bool) error {
	const key = "external"
	n.IsDefault = want && n.External
	owner, held := a.Claimed(claimDefaultNet, key)
	switch {
	case n.IsDefault && held && owner != n.ID:
		return fault.DefaultExternalNetworkExists(owner)
	case n.IsDefault && !held:
		if !a.take(claimDefaultNet, key, n.ID) {
			return fault.DefaultExternalNetworkExists(a.claims[claimKey{claimDefaultNet, key}])
		}
	case !n.IsDefault && held && owner == n.ID:
		a.drop(claimDefaultNet, key, n.ID)
	}
	return nil
}

// UpdateNetwork changes a network. Of the provider attributes only the segmentation id may
// change, and only while every port's binding survives it.
func (s *Service) UpdateNetwork(ctx context.Context, who model.Actor, id string, c Change[model.Network]) (*model.Network, error) {
	var out *model.Network
	err := s.update(ctx, "updating network "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.Networks.Read(tx, id)
		if !ok {
			return fault.NetworkNotFound(id)
		}
		if err := checkMatch(c.IfMatch, old.Revision); err != nil {
			return err
		}
		n := old.Clone()
		c.Apply(n)
		out = old
		if err := s.changeNetwork(a, old, n, c.Given); err != nil {
			return err
		}
		if same(old, n) {
			return nil
		}
		s.bump(&n.Meta)
		s.t.Networks.Put(tx, n)
		out = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) changeNetwork(a *attempt, old, n *model.Network, given map[string]bool) error {
	if old.External && !n.External && !a.NoneUnder(claimWayOut, n.ID+"/") {
		return fault.ExternalNetworkInUse(n.ID)
	}
	if err := s.changeSegments(a, old, n, given); err != nil {
		return err
	}
	if given["mtu"] {
		mtu, err := s.networkMTU(n.MTU, n.Segments)
		if err != nil {
			return err
		}
		n.MTU = mtu
	}
	if old.Shared && !n.Shared {
		for p := range s.t.Ports.By(a.snap, ByNetwork, n.ID) {
			if p.ProjectID != n.ProjectID && !isNetworkOwned(p.DeviceOwner) {
				return fault.InvalidSharedSetting(n.ID)
			}
		}
	}
	if given["is_default"] || given["router:external"] {
		return s.setDefaultNetwork(a, n, n.IsDefault)
	}
	return nil
}

// changeSegments applies a change of provider:segmentation_id: the claim moves, and what
// hosts carry out changes with it.
func (s *Service) changeSegments(a *attempt, old, n *model.Network, given map[string]bool) error {
	provider := given[ml2.AttrNetworkType] || given[ml2.AttrPhysicalNetwork] || given[ml2.AttrSegmentationID]
	var asked model.Segment
	if len(n.Segments) > 0 {
		asked = n.Segments[0]
	}
	n.Segments = slices.Clone(old.Segments)
	if !provider {
		return nil
	}
	var vifTypes []string
	for p := range s.t.Ports.By(a.snap, ByNetwork, n.ID) {
		vifTypes = appendNew(vifTypes, p.Binding.VIFType)
	}
	taken := func(c ml2.Claim) bool { return a.held(c.Kind, c.Key) }
	segment, changed, err := s.ml2.UpdateSegment(old, asked, given, vifTypes, taken)
	if err != nil || !changed {
		return err
	}
	segment.ID = old.Segments[0].ID
	for _, c := range s.ml2.SegmentClaims(old.Segments[0]) {
		a.drop(c.Kind, c.Key, n.ID)
	}
	if err := s.claimSegment(a, segment, n.ID); err != nil {
		return err
	}
	n.Segments[0] = segment
	s.relayout(a, n.ID)
	return nil
}

// deleteTries bounds the rounds of a delete that first has to clear what goes with it.
const deleteTries = 100

// portsPerTx bounds how many ports one transaction changes, to stay far below etcd's limit
// of operations per transaction.
const portsPerTx = 16

// DeleteNetwork deletes a network with its subnets and the ports that serve it. Any other
// port makes it fail.
func (s *Service) DeleteNetwork(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	for range deleteTries {
		var again bool
		err := s.update(ctx, "deleting network "+id, func(tx *store.Tx) error {
			var err error
			again, err = s.deleteNetwork(s.begin(tx), id, ifMatch)
			return err
		})
		if err != nil || !again {
			return err
		}
	}
	return fault.NetworkInUse(id, s.portsOf(id))
}

// deleteNetwork does one round: it clears service ports and asks for another one, or
// deletes the network when none is left. The claims range makes sure that no port slips in.
func (s *Service) deleteNetwork(a *attempt, id string, ifMatch *int64) (again bool, err error) {
	n, ok := s.t.Networks.Read(a.Tx, id)
	if !ok {
		return false, fault.NetworkNotFound(id)
	}
	if err := checkMatch(ifMatch, n.Revision); err != nil {
		return false, err
	}
	var serving []*model.Port
	var inUse []string
	for p := range s.t.Ports.By(a.snap, ByNetwork, id) {
		if autoDeleted(p.DeviceOwner) {
			serving = append(serving, p)
		} else {
			inUse = append(inUse, p.ID)
		}
	}
	if len(inUse) > 0 {
		return false, fault.NetworkInUse(id, inUse)
	}
	for _, p := range serving[:min(len(serving), portsPerTx)] {
		s.removePort(a, p.ID)
	}
	if len(serving) > portsPerTx {
		return true, nil
	}
	if !a.NoneUnder(claimMAC, id+"/") {
		return true, nil
	}
	for sub := range s.t.Subnets.By(a.snap, ByNetwork, id) {
		s.t.Subnets.Delete(a.Tx, sub.ID)
	}
	for _, seg := range n.Segments {
		for _, c := range s.ml2.SegmentClaims(seg) {
			a.drop(c.Kind, c.Key, id)
		}
	}
	if err := s.setDefaultNetwork(a, n.Clone(), false); err != nil {
		return false, fmt.Errorf("giving back the default network: %w", err)
	}
	if _, ok := s.t.DHCPBindings.Read(a.Tx, id); ok {
		s.t.DHCPBindings.Delete(a.Tx, id)
	}
	s.t.Layouts.Delete(a.Tx, id)
	s.t.Networks.Delete(a.Tx, id)
	return false, nil
}

func (s *Service) portsOf(network string) []string {
	var ids []string
	for p := range s.t.Ports.By(s.db.Snapshot(), ByNetwork, network) {
		ids = append(ids, p.ID)
	}
	return ids
}

// relayout tells every transaction that chooses addresses or binds on the network to look again.
func (s *Service) relayout(a *attempt, network string) {
	l := Layout{NetworkID: network}
	if old, ok := s.t.Layouts.Read(a.Tx, network); ok {
		l.Version = old.Version
	}
	l.Version++
	s.t.Layouts.Put(a.Tx, &l)
}
