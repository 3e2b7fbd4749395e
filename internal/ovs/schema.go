package ovs

import (
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
)

// The columns that are read or written; see ovs-vswitchd.conf.db(5).

type root struct {
	UUID    string   `ovsdb:"_uuid"`
	Bridges []string `ovsdb:"bridges"`
}

type bridge struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	DatapathType string            `ovsdb:"datapath_type"`
	Ports        []string          `ovsdb:"ports"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
}

type portRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Interfaces  []string          `ovsdb:"interfaces"`
	Tag         *int              `ovsdb:"tag"`
	Trunks      []int             `ovsdb:"trunks"`
	VLANMode    *string           `ovsdb:"vlan_mode"`
	Protected   bool              `ovsdb:"protected"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OtherConfig map[string]string `ovsdb:"other_config"`
}

type iface struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Type        string            `ovsdb:"type"`
	MAC         *string           `ovsdb:"mac"`
	MTURequest  *int              `ovsdb:"mtu_request"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OFPort      *int              `ovsdb:"ofport"`
	Ifindex     *int              `ovsdb:"ifindex"`
	Error       *string           `ovsdb:"error"`
}

func databaseModel() (model.ClientDBModel, error) {
	return model.NewClientDBModel("Open_vSwitch", map[string]model.Model{
		"Open_vSwitch": &root{}, "Bridge": &bridge{}, "Port": &portRow{}, "Interface": &iface{},
	})
}

// columns are what is monitored: those above and no others. An update with a column that the
// model has not would be lost as a whole.
func columns() []client.MonitorOption {
	var r root
	var b bridge
	var p portRow
	var i iface
	return []client.MonitorOption{
		client.WithTable(&r, &r.Bridges),
		client.WithTable(&b, &b.Name, &b.DatapathType, &b.Ports, &b.ExternalIDs),
		client.WithTable(&p, &p.Name, &p.Interfaces, &p.Tag, &p.Trunks, &p.VLANMode, &p.Protected, &p.ExternalIDs, &p.OtherConfig),
		client.WithTable(&i, &i.Name, &i.Type, &i.MAC, &i.MTURequest, &i.ExternalIDs, &i.OFPort, &i.Ifindex, &i.Error),
	}
}

// Keys of external_ids. Those of interfaces are os-vif's and libvirt's.
const (
	keyOwned   = "neutrino"        // of a Port that this package made: the port's id
	keyTagged  = "neutrino-tag"    // of a Port of somebody else that carries our tag: the port's id
	keyBridge  = "neutrino-bridge" // of a Bridge that this package made: the physical network
	keyIfaceID = "iface-id"
	keyMAC     = "attached-mac"
	keyStatus  = "iface-status"
	transient  = "transient"
)

// deadVLAN is where a port of somebody else's goes whose port is not bound here any more. It is
// Neutron's. The tag alone would not do: dead ports would reach each other, and the wire. See
// [portRow.bury].
const deadVLAN = 4095
