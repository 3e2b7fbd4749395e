package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// finish fills in what depends on other options or on the machine.
func (c *Config) finish() error {
	d := &c.Default
	if d.AuthStrategy == "" {
		d.AuthStrategy = AuthNone
		if c.Keystone.AuthURL != "" || c.Keystone.WWWAuthenticateURI != "" {
			d.AuthStrategy = AuthKeystone
		}
	}
	if d.BindHost == "" {
		d.BindHost = "127.0.0.1"
		if d.AuthStrategy == AuthKeystone {
			d.BindHost = "0.0.0.0"
		}
	}
	d.BindHost = strings.Trim(d.BindHost, "[]")
	d.BaseMAC = strings.ToLower(d.BaseMAC)
	d.DNSDomain = strings.TrimSuffix(d.DNSDomain, ".")
	d.PaginationMaxLimit = max(0, d.PaginationMaxLimit)
	d.DHCPLeaseDuration = max(0, d.DHCPLeaseDuration)
	if d.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find this machine's name ([DEFAULT] host is not set): %w", err)
		}
		d.Host = name
	}
	return nil
}

// Check checks what one role needs beyond correct values. The error joins one [Error]
// for each thing that is wrong.
func (c *Config) Check(role Role) error {
	var errs []error
	if role != Agents {
		errs = append(errs, c.checkListener(), c.checkNetworkTypes(), c.checkFabric("listen", c.Fabric.Listen))
	}
	if role != Controller {
		errs = append(errs, c.checkDevices(), c.checkBridges(), c.checkMetadata(), c.checkFabric("controllers", c.Fabric.Controllers))
	}
	return errors.Join(errs...)
}

// wrong makes an error that points at the first of the options that is set.
func (c *Config) wrong(reason string, names ...Name) error {
	for _, n := range names {
		if s, ok := c.settings[n]; ok {
			return &Error{Pos: s.Pos, Name: n, Value: s.Value, Reason: reason}
		}
	}
	return &Error{Name: names[0], Reason: reason, hidden: true}
}

func (c *Config) checkListener() error {
	var errs []error
	d := c.Default
	local := loopback(d.BindHost)
	bind, strategy := Name{def, "bind_host"}, Name{def, "auth_strategy"}
	if d.AuthStrategy == AuthNone && !local && !c.API.NoauthAnywhere {
		errs = append(errs, c.wrong("auth_strategy noauth makes everyone an administrator and is served on a loopback address "+
			"only; set auth_strategy = keystone, or [api] noauth_anywhere = true if that is meant", bind, strategy))
	}
	if d.AuthStrategy == AuthKeystone && c.Keystone.AuthURL == "" && !c.Identity.Enabled {
		errs = append(errs, c.wrong("auth_strategy keystone needs [keystone_authtoken] auth_url",
			Name{"keystone_authtoken", "auth_url"}, strategy, Name{"keystone_authtoken", "www_authenticate_uri"}))
	}
	if c.Identity.Enabled && !local {
		errs = append(errs, c.wrong("the development identity is served on a loopback address only", bind, Name{"identity", "enabled"}))
	}
	if d.UseSSL && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		errs = append(errs, c.wrong("needs [ssl] cert_file and key_file", Name{def, "use_ssl"}))
	}
	return errors.Join(errs...)
}

func (c *Config) checkNetworkTypes() error {
	var errs []error
	for _, t := range c.ML2.TenantNetworkTypes {
		if !slices.Contains(c.ML2.TypeDrivers, t) {
			errs = append(errs, c.wrong(fmt.Sprintf("%q is not among [ml2] type_drivers (%s)", t, strings.Join(c.ML2.TypeDrivers, ",")),
				Name{"ml2", "tenant_network_types"}, Name{"ml2", "type_drivers"}))
		}
	}
	if t := c.ML2.ExternalNetworkType; t != "" && !slices.Contains(c.ML2.TypeDrivers, t) {
		errs = append(errs, c.wrong("not among [ml2] type_drivers", Name{"ml2", "external_network_type"}))
	}
	return errors.Join(errs...)
}

// checkMetadata wants what Nova's metadata service cannot do without.
func (c *Config) checkMetadata() error {
	m := c.Metadata
	if !m.Enabled || m.NovaHost == "" || !c.DHCP.Enabled && !c.L3.Enabled {
		return nil
	}
	var errs []error
	if m.SharedSecret == "" {
		errs = append(errs, c.wrong("needs metadata_proxy_shared_secret: Nova believes what is signed with it", Name{def, "nova_metadata_host"}))
	}
	if (m.NovaTLS.CertFile == "") != (m.NovaTLS.KeyFile == "") {
		errs = append(errs, c.wrong("nova_client_cert and nova_client_priv_key go together", Name{def, "nova_client_cert"}, Name{def, "nova_client_priv_key"}))
	}
	return errors.Join(errs...)
}

// checkFabric refuses plain connections beyond this machine.
func (c *Config) checkFabric(option string, addresses []string) error {
	if len(addresses) == 0 {
		return c.wrong("must not be empty", Name{"fabric", option})
	}
	t := c.Fabric.TLS
	for _, a := range addresses {
		if strings.HasPrefix(a, "unix://") {
			continue
		}
		host, _, err := net.SplitHostPort(a)
		if err == nil && loopback(host) {
			continue
		}
		if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
			return c.wrong(fmt.Sprintf("%s is not on this machine: [fabric] tls_cert_file, tls_key_file and tls_ca_file are needed", a),
				Name{"fabric", option})
		}
	}
	return nil
}

// checkBridges sees that each physical network has one bridge of its own, and each bridge one
// uplink of its own.
func (c *Config) checkBridges() error {
	var errs []error
	mappings, uplinks := Name{"ovs", "bridge_mappings"}, Name{"ovs", "bridge_uplinks"}
	owner := map[string]string{}
	for _, network := range slices.Sorted(maps.Keys(c.OVS.BridgeMappings)) {
		bridges := c.OVS.BridgeMappings[network]
		if len(bridges) != 1 {
			errs = append(errs, c.wrong(fmt.Sprintf("physical network %s has %d bridges, %s; it can have one", network, len(bridges), strings.Join(bridges, ", ")), mappings))
		}
		for _, b := range bridges {
			if other := owner[b]; other != "" {
				errs = append(errs, c.wrong(fmt.Sprintf("%s is the bridge of %s and of %s, whose VLANs would be one", b, other, network), mappings))
			}
			owner[b] = network
		}
	}
	taken := map[string]string{}
	for _, bridge := range slices.Sorted(maps.Keys(c.OVS.BridgeUplinks)) {
		devices := c.OVS.BridgeUplinks[bridge]
		if owner[bridge] == "" {
			errs = append(errs, c.wrong(bridge+" is not in bridge_mappings", uplinks))
		}
		if len(devices) != 1 {
			errs = append(errs, c.wrong(fmt.Sprintf("%s has %d uplinks, %s; make a bond of them and name that", bridge, len(devices), strings.Join(devices, ", ")), uplinks))
		}
		for _, d := range devices {
			if other := taken[d]; other != "" {
				errs = append(errs, c.wrong(fmt.Sprintf("%s is the uplink of %s and of %s", d, other, bridge), uplinks))
			}
			taken[d] = bridge
		}
	}
	if t := c.OVS.TLS; strings.HasPrefix(c.OVS.Connection, "ssl:") && (t.CertFile == "" || t.KeyFile == "" || t.CAFile == "") {
		errs = append(errs, c.wrong("needs [ovs] ssl_cert_file, ssl_key_file and ssl_ca_cert_file", Name{"ovs", "ovsdb_connection"}))
	}
	return errors.Join(errs...)
}

func (c *Config) checkDevices() error {
	var mapped []string
	for _, devices := range c.DeviceMappings() {
		mapped = append(mapped, devices...)
	}
	for device := range c.SRIOVNIC.ExcludeDevices {
		if !slices.Contains(mapped, device) {
			return c.wrong(fmt.Sprintf("%s is not in physical_device_mappings", device), Name{"sriov_nic", "exclude_devices"})
		}
	}
	return nil
}

// loopback reports whether a host can be reached from this machine only.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}
