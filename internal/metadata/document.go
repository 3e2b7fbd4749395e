package metadata

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/model"
)

// Versions of the two styles that are served; all of one style say the same. "latest" is one
// besides.
var (
	ec2Versions       = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04"}
	openstackVersions = []string{
		"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
	}
)

const (
	latest    = "latest"
	plainText = "text/plain; charset=utf-8"
	jsonText  = "application/json"
)

// Page is an answer.
type Page struct {
	Type string // Content-Type
	Body []byte
}

func lines(l ...string) *Page { return &Page{plainText, []byte(strings.Join(l, "\n"))} }

func document(v any) *Page {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // strings and lists of them always are JSON
	}
	return &Page{jsonText, text}
}

// Document returns what is at a path for an instance, or nil when nothing is: EC2's style
// below /<version>/, OpenStack's below /openstack/<version>/. Empty path elements do not
// count. Subnets, by id, say how the instance is to get its IPv6 addresses; those that are
// missing are left out of network_data.json. It is pure.
func Document(h *model.DHCPHost, subnets map[string]*model.Subnet, path string) *Page {
	at := slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
	switch {
	case len(at) == 0:
		return lines(append(slices.Clone(ec2Versions), latest)...)
	case at[0] == "openstack":
		return openstack(h, subnets, at[1:])
	case at[0] == latest || slices.Contains(ec2Versions, at[0]):
		return ec2(h, at[1:])
	}
	return nil
}

func userData(h *model.DHCPHost) *Page {
	if h.Instance == nil || h.Instance.UserData == "" {
		return nil
	}
	return &Page{"application/octet-stream", []byte(h.Instance.UserData)}
}

func keysOf(h *model.DHCPHost) []string {
	if h.Instance == nil {
		return nil
	}
	return h.Instance.PublicKeys
}

func keyName(i int) string { return "key-" + strconv.Itoa(i) }

func hostNameOf(h *model.DHCPHost) string {
	if h.Instance != nil && h.Instance.HostName != "" {
		return h.Instance.HostName
	}
	return h.HostName
}

// instanceID stays the same as long as the instance does: cloud-init takes another one for a
// new instance.
func instanceID(h *model.DHCPHost) string {
	if h.Device != "" {
		return h.Device
	}
	return h.PortID
}

func ec2(h *model.DHCPHost, at []string) *Page {
	switch {
	case len(at) == 0:
		if userData(h) == nil {
			return lines("meta-data/")
		}
		return lines("meta-data/", "user-data")
	case at[0] == "user-data" && len(at) == 1:
		return userData(h)
	case at[0] == "meta-data":
		return ec2Meta(h, at[1:])
	}
	return nil
}

// ec2Leaves are the values of meta-data, without the keys.
func ec2Leaves(h *model.DHCPHost) map[string]string {
	all := map[string]string{
		"instance-id": instanceID(h), "hostname": hostNameOf(h), "local-hostname": hostNameOf(h), "mac": h.MAC, "ami-launch-index": "0",
	}
	for _, family := range []struct {
		key string
		is  func(netip.Addr) bool
	}{{"local-ipv4", netip.Addr.Is4}, {"ipv6", netip.Addr.Is6}} {
		if i := slices.IndexFunc(h.Addresses, func(a model.FixedIP) bool { return family.is(a.IP) }); i >= 0 {
			all[family.key] = h.Addresses[i].IP.String()
		}
	}
	return all
}

func ec2Meta(h *model.DHCPHost, at []string) *Page {
	leaves := ec2Leaves(h)
	if len(at) == 0 {
		var names []string
		for name := range leaves {
			names = append(names, name)
		}
		if len(keysOf(h)) > 0 {
			names = append(names, "public-keys/")
		}
		slices.Sort(names)
		return lines(names...)
	}
	if at[0] == "public-keys" {
		return ec2Keys(keysOf(h), at[1:])
	}
	if v, ok := leaves[at[0]]; ok && len(at) == 1 {
		return lines(v)
	}
	return nil
}

func ec2Keys(keys, at []string) *Page {
	if len(keys) == 0 {
		return nil
	}
	if len(at) == 0 {
		var names []string
		for i := range keys {
			names = append(names, fmt.Sprintf("%d=%s", i, keyName(i)))
		}
		return lines(names...)
	}
	i, err := strconv.Atoi(at[0])
	switch {
	case err != nil || i < 0 || i >= len(keys):
		return nil
	case len(at) == 1:
		return lines("openssh-key")
	case len(at) == 2 && at[1] == "openssh-key":
		return lines(keys[i])
	}
	return nil
}

func openstack(h *model.DHCPHost, subnets map[string]*model.Subnet, at []string) *Page {
	switch {
	case len(at) == 0:
		return lines(append(slices.Clone(openstackVersions), latest)...)
	case at[0] != latest && !slices.Contains(openstackVersions, at[0]) || len(at) > 2:
		return nil
	case len(at) == 1:
		files := []string{"meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"}
		if userData(h) != nil {
			files = append(files, "user_data")
		}
		return lines(files...)
	}
	switch at[1] {
	case "meta_data.json":
		return document(newMetaData(h))
	case "network_data.json":
		return document(newNetworkData(h, subnets))
	case "vendor_data.json", "vendor_data2.json":
		return document(struct{}{})
	case "user_data":
		return userData(h)
	}
	return nil
}

type namedKey struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

type metaData struct {
	UUID        string            `json:"uuid"`
	Name        string            `json:"name"`
	HostName    string            `json:"hostname"`
	ProjectID   string            `json:"project_id,omitempty"`
	LaunchIndex int               `json:"launch_index"`
	Meta        map[string]string `json:"meta"`
	PublicKeys  map[string]string `json:"public_keys,omitempty"`
	Keys        []namedKey        `json:"keys,omitempty"`
}

func newMetaData(h *model.DHCPHost) metaData {
	m := metaData{UUID: instanceID(h), Name: hostNameOf(h), HostName: hostNameOf(h), ProjectID: h.ProjectID, Meta: map[string]string{}}
	for i, k := range keysOf(h) {
		if m.PublicKeys == nil {
			m.PublicKeys = map[string]string{}
		}
		m.PublicKeys[keyName(i)] = k
		m.Keys = append(m.Keys, namedKey{keyName(i), "ssh", k})
	}
	return m
}
