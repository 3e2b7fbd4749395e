package api

import (
	"cmp"
	"iter"
	"math/big"
	"slices"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/neutron"
)

// availabilities declares /network-ip-availabilities.
func availabilities() resource[neutron.NetworkAvailability] {
	type row = neutron.NetworkAvailability
	project := func(_ *view, a *row) value { return textValue(a.Network.ProjectID) }
	return resource[row]{
		Single: "network_ip_availability", Plural: "network_ip_availabilities",
		Attrs: []attr[row]{
			{Name: "network_id", Use: filters | sorts, Get: func(_ *view, a *row) value { return textValue(a.Network.ID) }},
			{Name: "network_name", Use: filters | sorts, Get: func(_ *view, a *row) value { return textValue(a.Network.Name) }},
			{Name: "tenant_id", Use: filters | sorts, Get: project},
			{Name: "project_id", Use: filters | sorts, Get: project},
			{Name: "used_ips", Get: func(_ *view, a *row) value { return intValue(a.Used) }},
			{Name: "total_ips", Get: func(_ *view, a *row) value { return jsonValue((*bigNumber)(a.Total)) }},
			{Name: "subnet_ip_availability", Get: func(_ *view, a *row) value { return jsonValue((*availabilityList)(&a.Subnets)) }},
			{Name: "ip_version", Use: filters | hidden, Match: matchFamily},
		},
		ID:       func(a *row) string { return a.Network.ID },
		Owners:   func(_ *view, a *row) owners { return owners{project: a.Network.ProjectID} },
		NotFound: fault.NetworkNotFound,
		All: func(v *view) iter.Seq[*row] {
			if !v.who.all(adminOrService) {
				return func(func(*row) bool) {}
			}
			rows := v.svc.IPAvailability(v.snap, 0)
			slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Network.ID, b.Network.ID) })
			return pointers(rows)
		},
		One: func(v *view, id string) (*row, bool) {
			a, ok := v.svc.NetworkIPAvailability(v.snap, id)
			return &a, ok
		},
		See: adminOrService,
	}
}

// pointers yields a pointer to each element.
func pointers[T any](rows []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range rows {
			if !yield(&rows[i]) {
				return
			}
		}
	}
}

// matchFamily counts only subnets of the families asked for. The rows are this request's
// own, so they may be cut down.
func matchFamily(_ *view, values []string) (func(*neutron.NetworkAvailability) bool, error) {
	var families []int
	for _, s := range values {
		n, err := parseInt(s)
		if err != nil {
			return nil, err
		}
		families = append(families, n.(int))
	}
	return func(a *neutron.NetworkAvailability) bool {
		a.Subnets = slices.DeleteFunc(slices.Clone(a.Subnets), func(s neutron.SubnetAvailability) bool {
			return !slices.Contains(families, s.Subnet.IPVersion)
		})
		a.Total, a.Used = new(big.Int), 0
		for _, s := range a.Subnets {
			a.Total.Add(a.Total, s.Total)
			a.Used += s.Used
		}
		return len(a.Subnets) > 0
	}, nil
}

// bigNumber writes a number of any size.
type bigNumber big.Int

func (n *bigNumber) appendJSON(b []byte) []byte {
	if n == nil {
		return append(b, '0')
	}
	return (*big.Int)(n).Append(b, 10)
}

// availabilityList writes the subnets of one network.
type availabilityList []neutron.SubnetAvailability

func (l *availabilityList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, s := range *l {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"subnet_id":`...), s.Subnet.ID)
		b = appendText(append(b, `,"subnet_name":`...), s.Subnet.Name)
		b = append(s.Subnet.CIDR.AppendTo(append(b, `,"cidr":"`...)), '"')
		b = strconv.AppendInt(append(b, `,"ip_version":`...), int64(s.Subnet.IPVersion), 10)
		b = strconv.AppendInt(append(b, `,"used_ips":`...), s.Used, 10)
		b = append((*bigNumber)(s.Total).appendJSON(append(b, `,"total_ips":`...)), '}')
	}
	return append(b, ']')
}

// zones declares /availability_zones.
func zones() resource[neutron.Zone] {
	type row = neutron.Zone
	return resource[row]{
		Single: "availability_zone", Plural: "availability_zones",
		Attrs: []attr[row]{
			textAttr("name", filters, nil, nil, func(z *row) *string { return &z.Name }),
			textAttr("resource", filters, nil, nil, func(z *row) *string { return &z.Resource }),
			textAttr("state", filters, nil, nil, func(z *row) *string { return &z.State }),
		},
		ID:       func(z *row) string { return z.Name + "/" + z.Resource },
		Owners:   func(*view, *row) owners { return owners{} },
		NotFound: fault.AvailabilityZoneNotFound,
		All:      func(v *view) iter.Seq[*row] { return pointers(v.svc.AvailabilityZones(v.snap)) },
		One:      func(*view, string) (*row, bool) { return nil, false },
		See:      toAdmin | toService | toAnyReader,
	}
}
