package controller

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"neutrino/internal/auth"
	"neutrino/internal/config"
	"neutrino/internal/ml2"
	"neutrino/internal/neutron"
	"neutrino/internal/serve"
	"neutrino/internal/store"
)

func storeConfig(c *config.Config, log *slog.Logger) store.Config {
	return store.Config{
		Endpoints:    c.Store.Endpoints,
		Cluster:      c.Store.Cluster,
		TLS:          store.TLS{CertFile: c.Store.TLS.CertFile, KeyFile: c.Store.TLS.KeyFile, CAFile: c.Store.TLS.CAFile},
		Username:     c.Store.Username,
		Password:     c.Store.Password,
		DataDir:      c.Store.DataDir,
		ListenClient: c.Store.ListenClient,
		Log:          log,
	}
}

func ml2Config(c *config.Config) ml2.Config {
	return ml2.Config{
		TypeDrivers:         c.ML2.TypeDrivers,
		TenantNetworkTypes:  c.ML2.TenantNetworkTypes,
		MechanismDrivers:    c.ML2.MechanismDrivers,
		ExternalNetworkType: c.ML2.ExternalNetworkType,
		VLANRanges:          c.VLAN.NetworkVLANRanges,
		FlatNetworks:        c.Flat.FlatNetworks,
		VNIRanges:           c.VXLAN.VNIRanges,
		GlobalPhysnetMTU:    c.Default.GlobalPhysnetMTU,
		PathMTU:             c.ML2.PathMTU,
		OverlayIPVersion:    c.ML2.OverlayIPVersion,
		PhysicalNetworkMTUs: c.ML2.PhysicalNetworkMTUs,
		EswitchVnicType:     c.Eswitch.VnicType,
		ApplyProfilePatch:   c.Eswitch.ApplyProfilePatch,
		SecurityGroups:      c.SecurityGroup.Enable,
		VnicTypeProhibit: map[string][]string{
			"openvswitch":    c.OVSDriver.VnicTypeProhibitList,
			"sriovnicswitch": c.SRIOVDriver.VnicTypeProhibitList,
			"mlnx":           c.SRIOVDriver.VnicTypeProhibitList,
		},
	}
}

func neutronOptions(c *config.Config) neutron.Options {
	return neutron.Options{
		BaseMAC:              c.Default.BaseMAC,
		DefaultQuotas:        c.Quotas.Limits(),
		AgentDownTime:        c.Default.AgentDownTime,
		MaxDNSNameservers:    c.Default.MaxDNSNameservers,
		MaxHostRoutes:        c.Default.MaxSubnetHostRoutes,
		MaxAddressPairs:      c.Default.MaxAllowedAddressPair,
		MaxRoutes:            c.Default.MaxRoutes,
		NoSNAT:               !c.Default.EnableSNATByDefault,
		NoFilters:            !c.SecurityGroup.Enable,
		DHCPAgentsPerNetwork: c.Default.DHCPAgentsPerNetwork,
		DNSDomain:            c.Default.DNSDomain + ".",
	}
}

// identity is the development identity, or nil.
func identity(c *config.Config, log *slog.Logger) (*auth.Identity, error) {
	if !c.Identity.Enabled {
		return nil, nil
	}
	d := auth.DefaultDirectory()
	if file := c.Identity.File; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("[identity] file: %w", err)
		}
		if d, err = auth.ParseDirectory(text); err != nil {
			return nil, fmt.Errorf("[identity] file %s: %w", file, err)
		}
	}
	return auth.NewIdentity(d, auth.IdentityOptions{Log: log})
}

// authenticator is what decides who asks.
func authenticator(c *config.Config, id *auth.Identity) (auth.Authenticator, error) {
	switch {
	case c.Default.AuthStrategy == config.AuthNone:
		return auth.NoAuth{Tokens: id}, nil
	case id != nil:
		return id, nil
	}
	k := c.Keystone
	client := &http.Client{Timeout: k.HTTPConnectTimeout}
	transport, err := serve.Transport(k.CAFile, k.Insecure)
	if err != nil {
		return nil, fmt.Errorf("[keystone_authtoken] cafile: %w", err)
	}
	client.Transport = transport
	ks, err := auth.NewKeystone(auth.KeystoneOptions{
		AuthURL:              k.AuthURL,
		WWWAuthenticateURI:   k.WWWAuthenticateURI,
		Username:             k.Username,
		Password:             k.Password,
		UserID:               k.UserID,
		UserDomain:           auth.Domain{ID: k.UserDomainID, Name: k.UserDomainName},
		ProjectName:          k.ProjectName,
		ProjectID:            k.ProjectID,
		ProjectDomain:        auth.Domain{ID: k.ProjectDomainID, Name: k.ProjectDomainName},
		DefaultDomain:        auth.Domain{ID: k.DefaultDomainID, Name: k.DefaultDomainName},
		TokenCacheTime:       k.TokenCacheTime,
		ServiceTokenRoles:    k.ServiceTokenRoles,
		ServiceRolesRequired: k.ServiceRolesNeeded,
		Timeout:              k.HTTPConnectTimeout,
		Client:               client,
	})
	if err != nil {
		return nil, fmt.Errorf("[keystone_authtoken]: %w", err)
	}
	return ks, nil
}
