package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// change is one difference between what is wanted and what is there. Exactly one of its
// parts is set.
type change struct {
	describe string

	makeBridge *bridge  // and its local port
	setBridge  *bridge  // external_ids of the row of this UUID
	addPort    *newPort // to bridge
	setPort    *portRow // tag, external_ids, other_config of the row of this UUID
	setIface   *iface   // mtu_request, external_ids of the row of this UUID
	removePort *portRow // from bridge
	bridge     string
}

// newPort is a port with one interface of the same name.
type newPort struct {
	port  portRow
	iface iface
}

// compute is what leads from the view to the bridges and ports that are wanted, and how
// each wanted port stands in the view. It is pure. blocked says why a bridge's uplink must
// not be taken.
func compute(v *view, bridges []Bridge, datapath string, ports []Port, blocked map[string]error) ([]change, map[string]Status) {
	c := &computation{view: v, status: map[string]Status{}, mapped: map[string]bool{}}
	for _, b := range bridges {
		c.mapped[b.Name] = true
		c.bridge(b, datapath, blocked[b.Uplink])
	}
	wanted := map[string]Port{}
	for _, p := range ports {
		wanted[p.ID] = p
	}
	c.existing(wanted)
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		c.missing(wanted[id])
	}
	return c.changes, c.status
}

type computation struct {
	*view
	changes []change
	status  map[string]Status
	mapped  map[string]bool
}

func (c *computation) add(ch change) { c.changes = append(c.changes, ch) }

// bridge makes a mapped bridge and its uplink where they are missing.
func (c *computation) bridge(b Bridge, datapath string, blocked error) {
	have, ok := c.bridges[b.Name]
	if !ok {
		c.add(change{describe: "make bridge " + b.Name, bridge: b.Name, makeBridge: &bridge{
			Name: b.Name, DatapathType: datapath, ExternalIDs: map[string]string{keyBridge: b.PhysicalNetwork},
		}})
	}
	if b.Uplink == "" || blocked != nil {
		return
	}
	for _, p := range c.sortedPorts(have) {
		if p.Name == b.Uplink {
			if p.Tag != nil {
				row := p
				row.Tag = nil
				c.add(change{describe: fmt.Sprintf("make uplink %s of %s a trunk (it has tag %d)", p.Name, b.Name, *p.Tag), setPort: &row})
			}
			return
		}
	}
	c.add(change{describe: fmt.Sprintf("make %s the uplink of %s", b.Uplink, b.Name), bridge: b.Name, addPort: &newPort{
		port: portRow{Name: b.Uplink}, iface: iface{Name: b.Uplink},
	}})
}

// existing puts right, or removes, what is there for ports.
func (c *computation) existing(wanted map[string]Port) {
	for _, name := range c.bridgeNames() {
		for _, p := range c.sortedPorts(c.bridges[name]) {
			id := c.portID(p)
			if id == "" {
				continue
			}
			want, ok := wanted[id]
			_, counted := c.status[id]
			switch {
			case ok && want.Bridge == name && !counted:
				c.keep(name, p, want)
			case p.ExternalIDs[keyOwned] != "":
				row := p
				c.add(change{describe: fmt.Sprintf("remove %s from %s: port %s is not to be there", p.Name, name, id), bridge: name, removePort: &row})
			case p.ExternalIDs[keyTagged] != "" && !sameVLAN(p, p.bury()):
				row := p.bury()
				c.add(change{describe: fmt.Sprintf("put %s of %s on the dead VLAN: port %s is not bound here", p.Name, name, id), setPort: &row})
			}
		}
	}
}

// portID is the port that a row is for; "" = none of ours.
func (c *computation) portID(p portRow) string {
	if id := p.ExternalIDs[keyOwned]; id != "" {
		return id
	}
	if id := p.ExternalIDs[keyTagged]; id != "" {
		return id
	}
	for _, u := range p.Interfaces {
		if id := c.ifaces[u].ExternalIDs[keyIfaceID]; id != "" {
			return id
		}
	}
	return ""
}

// keep compares a row with what is asked of it.
func (c *computation) keep(bridge string, p portRow, want Port) {
	row := p.access(want.VLAN)
	row.ExternalIDs, row.OtherConfig = maps.Clone(p.ExternalIDs), maps.Clone(p.OtherConfig)
	owned := p.ExternalIDs[keyOwned] != ""
	if owned {
		merge(&row.ExternalIDs, owner(want))
		merge(&row.OtherConfig, map[string]string{transient: "true"})
	} else {
		merge(&row.ExternalIDs, map[string]string{keyTagged: want.ID})
	}
	if !sameVLAN(p, row) || !maps.Equal(p.ExternalIDs, row.ExternalIDs) || !maps.Equal(p.OtherConfig, row.OtherConfig) {
		c.add(change{describe: fmt.Sprintf("give %s of %s %s", p.Name, bridge, vlanText(row.Tag)), setPort: &row})
	}
	st := Status{}
	for _, u := range p.Interfaces {
		i, ok := c.ifaces[u]
		if !ok {
			continue
		}
		st.Interface = i.Name
		if i.OFPort != nil && *i.OFPort > 0 {
			st.OFPort = *i.OFPort
		}
		if i.Ifindex != nil {
			st.Ifindex = *i.Ifindex
		}
		if i.Error != nil && *i.Error != "" {
			st.Err = fmt.Errorf("Open vSwitch says of %s: %s", i.Name, *i.Error) //nolint:staticcheck // a name
		}
		next := i
		next.ExternalIDs = maps.Clone(i.ExternalIDs)
		if owned {
			merge(&next.ExternalIDs, ifaceIDs(want))
		}
		if want.MTU > 0 {
			mtu := want.MTU
			next.MTURequest = &mtu
		}
		if !maps.Equal(i.ExternalIDs, next.ExternalIDs) || !sameTag(i.MTURequest, next.MTURequest) {
			c.add(change{describe: fmt.Sprintf("give interface %s MTU %d", i.Name, want.MTU), setIface: &next})
		}
	}
	if !sameVLAN(p, row) {
		st.Err = fmt.Errorf("%s is not an access port of %s yet", p.Name, vlanText(row.Tag))
	}
	c.status[want.ID] = st
}

// missing makes what nobody else makes.
func (c *computation) missing(want Port) {
	if _, there := c.status[want.ID]; there {
		return
	}
	if !c.mapped[want.Bridge] {
		c.status[want.ID] = Status{Err: fmt.Errorf("%w: %q; bridge_mappings of this host has it not", ErrNoBridge, want.Bridge)}
		return
	}
	c.status[want.ID] = Status{}
	if !want.Internal {
		return
	}
	c.add(change{describe: fmt.Sprintf("make %s in %s with %s", Name(want.ID), want.Bridge, vlanText(tagOf(want))), bridge: want.Bridge, addPort: madePort(want)})
}

// madePort is a port that is made here.
func madePort(want Port) *newPort {
	n := &newPort{
		port: portRow{
			Name: Name(want.ID), Tag: tagOf(want), ExternalIDs: owner(want), OtherConfig: map[string]string{transient: "true"},
		},
		iface: iface{Name: Name(want.ID), ExternalIDs: ifaceIDs(want)},
	}
	if want.Internal {
		n.iface.Type = "internal"
	}
	if want.MTU > 0 {
		mtu := want.MTU
		n.iface.MTURequest = &mtu
	}
	if want.MAC != "" && want.Internal {
		mac := want.MAC
		n.iface.MAC = &mac
	}
	return n
}

func owner(p Port) map[string]string {
	return map[string]string{keyOwned: p.ID, "neutrino-network": p.NetworkID, "neutrino-project": p.ProjectID}
}

func ifaceIDs(p Port) map[string]string {
	return map[string]string{keyIfaceID: p.ID, keyMAC: p.MAC, keyStatus: "active"}
}

func merge(into *map[string]string, from map[string]string) {
	if *into == nil {
		*into = map[string]string{}
	}
	maps.Copy(*into, from)
}

// tagOf is the tag of an access port. That of a flat network has tag 0: it sends and gets
// untagged frames only. Without a tag it would be a trunk of all VLANs.
func tagOf(p Port) *int {
	tag := p.VLAN
	return &tag
}

// access is the port as an access port of a VLAN.
func (p portRow) access(vlan int) portRow {
	p.Tag, p.VLANMode, p.Trunks, p.Protected = &vlan, nil, nil, false
	return p
}

// bury is the port on the dead VLAN. It is a trunk of that VLAN alone, so that it loses the
// untagged frames that instances send, and protected, so that one that tags its frames itself
// reaches no other dead port.
func (p portRow) bury() portRow {
	dead, mode := deadVLAN, "trunk"
	p.Tag, p.VLANMode, p.Trunks, p.Protected = &dead, &mode, []int{dead}, true
	return p
}

func sameVLAN(a, b portRow) bool {
	mode := func(p portRow) string {
		if p.VLANMode == nil || *p.VLANMode == "access" {
			return "access"
		}
		return *p.VLANMode
	}
	return sameTag(a.Tag, b.Tag) && mode(a) == mode(b) && slices.Equal(a.Trunks, b.Trunks) && a.Protected == b.Protected
}

func sameTag(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func vlanText(tag *int) string {
	if tag == nil || *tag == 0 {
		return "untagged frames"
	}
	return "VLAN " + strconv.Itoa(*tag)
}
