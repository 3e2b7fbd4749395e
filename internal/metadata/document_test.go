package metadata

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"neutrino/internal/model"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here"

func host(id, ip string, in *model.InstanceData) model.DHCPHost {
	return model.DHCPHost{
		PortID: "aaaaaaaa-bbbb-4ccc-8ddd-" + id, MAC: "fa:16:3e:00:00:" + id[len(id)-2:], HostName: "host-" + strings.ReplaceAll(ip, ".", "-"),
		Addresses: []model.FixedIP{{SubnetID: "s4", IP: netip.MustParseAddr(ip)}}, Device: "device-" + id, ProjectID: "project", Instance: in,
	}
}

func TestDocument(t *testing.T) {
	h := host("000000000001", "10.0.0.7", &model.InstanceData{HostName: "web.example", PublicKeys: []string{testKey, "ssh-rsa AAAA x"}, UserData: "#!/bin/sh\n\x01raw\n"})
	h.Addresses = append(h.Addresses, model.FixedIP{SubnetID: "s6", IP: netip.MustParseAddr("2001:db8::7")})
	subnets := map[string]*model.Subnet{"s6": {NetworkID: "n", IPv6AddressMode: model.ModeStateful}}
	for path, want := range map[string]string{
		"/latest":                                            "meta-data/\nuser-data",
		"/2009-04-04/":                                       "meta-data/\nuser-data",
		"/latest/meta-data/":                                 "ami-launch-index\nhostname\ninstance-id\nipv6\nlocal-hostname\nlocal-ipv4\nmac\npublic-keys/",
		"/latest/meta-data/instance-id":                      "device-000000000001",
		"//latest//meta-data/local-ipv4":                     "10.0.0.7",
		"/latest/meta-data/ipv6":                             "2001:db8::7",
		"/latest/meta-data/hostname":                         "web.example",
		"/latest/meta-data/public-keys/":                     "0=key-0\n1=key-1",
		"/latest/meta-data/public-keys/1":                    "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":        testKey,
		"/1.0/user-data":                                     "#!/bin/sh\n\x01raw\n",
		"/openstack/2018-08-27/user_data":                    "#!/bin/sh\n\x01raw\n",
		"/openstack/latest/":                                 "meta_data.json\nnetwork_data.json\nvendor_data.json\nvendor_data2.json\nuser_data",
		"/openstack/latest/vendor_data.json":                 "{}",
		"/latest/meta-data/public-keys/2/openssh-key":        "",
		"/latest/meta-data/public-keys/-1/openssh-key":       "",
		"/latest/meta-data/instance-id/x":                    "",
		"/latest/dynamic":                                    "",
		"/openstack/1999-01-01/meta_data.json":               "",
		"/openstack/latest/password":                         "",
		"/openstack/latest/meta_data.json/more":              "",
		"/latest/meta-data/public-keys/0/openssh-key/deeper": "",
		"/elsewhere":                                         "",
	} {
		p := Document(&h, subnets, path)
		switch {
		case want == "" && p != nil:
			t.Errorf("%s: %q", path, p.Body)
		case want != "" && (p == nil || string(p.Body) != want):
			t.Errorf("%s: %v, want %q", path, p, want)
		}
	}
	var meta struct {
		UUID, Hostname string
		Keys           []struct{ Name, Type, Data string }
		PublicKeys     map[string]string `json:"public_keys"`
	}
	if err := json.Unmarshal(Document(&h, subnets, "/openstack/latest/meta_data.json").Body, &meta); err != nil {
		t.Fatal(err)
	}
	if meta.UUID != h.Device || meta.Hostname != "web.example" || meta.PublicKeys["key-0"] != testKey || len(meta.Keys) != 2 || meta.Keys[0].Data != testKey {
		t.Errorf("%+v", meta)
	}
	var net networkData
	if err := json.Unmarshal(Document(&h, subnets, "/openstack/latest/network_data.json").Body, &net); err != nil {
		t.Fatal(err)
	}
	if len(net.Links) != 1 || net.Links[0].MAC != h.MAC || len(net.Networks) != 2 || net.Networks[0].Type != "ipv4_dhcp" || net.Networks[1].Type != "ipv6_dhcpv6-stateful" {
		t.Errorf("%+v", net)
	}
}

// Of an instance that nothing was said of there is an id, a name and an address.
func TestDocumentOfBareInstance(t *testing.T) {
	h := host("000000000001", "10.0.0.7", nil)
	h.Device = ""
	for path, want := range map[string]string{
		"/latest":                          "meta-data/",
		"/latest/meta-data/instance-id":    h.PortID,
		"/latest/meta-data/local-hostname": "host-10-0-0-7",
		"/latest/user-data":                "",
		"/openstack/latest/user_data":      "",
		"/latest/meta-data/public-keys/":   "",
	} {
		p := Document(&h, nil, path)
		if (p == nil) != (want == "") || p != nil && string(p.Body) != want {
			t.Errorf("%s: %v, want %q", path, p, want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		"/", "/latest/meta-data/public-keys/0/openssh-key", "/openstack/latest/meta_data.json", "/latest/meta-data/public-keys/99999999999999999999",
		"//openstack//", "/latest/user-data/", "\x00", "/latest/meta-data/../../openstack",
	} {
		f.Add(s)
	}
	h := host("000000000001", "10.0.0.7", &model.InstanceData{PublicKeys: []string{testKey}, UserData: "x"})
	f.Fuzz(func(t *testing.T, path string) {
		p := Document(&h, nil, path)
		if p != nil && (p.Type == "" || len(p.Body) == 0) {
			t.Errorf("%q: an empty page", path)
		}
	})
}

func TestFind(t *testing.T) {
	a, b, twin := host("000000000001", "10.0.0.7", nil), host("000000000002", "10.0.0.8", nil), host("000000000003", "10.0.0.9", nil)
	other := host("000000000004", "10.0.0.9", nil)
	c := newClients([]model.DHCPHost{a, b, twin, other}, nil)
	macs := map[string]string{"fe80::1": a.MAC, "fe80::2": "fa:16:3e:ff:ff:ff"}
	macOf := func(ip netip.Addr) string { return macs[ip.String()] }
	for from, want := range map[string]string{
		"10.0.0.7": a.PortID, "::ffff:10.0.0.8": b.PortID, "10.0.0.9": "", "10.0.0.10": "",
		"fe80::1%eth0": a.PortID, "fe80::2": "", "fe80::3": "",
	} {
		got := ""
		if h := c.find(netip.MustParseAddr(from), macOf); h != nil {
			got = h.PortID
		}
		if got != want {
			t.Errorf("%s is %q, want %q", from, got, want)
		}
	}
}
