package host

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netns"

	"neutrino/internal/config"
	"neutrino/internal/dhcp"
	"neutrino/internal/metadata"
	"neutrino/internal/model"
	"neutrino/internal/router"
)

// openMetadata returns nil where this host has nothing to serve metadata beside, or is not
// to.
func openMetadata(cfg *config.Config, log *slog.Logger, reg prometheus.Registerer) (*metadata.Service, error) {
	m := cfg.Metadata
	if !m.Enabled || !cfg.DHCP.Enabled && !cfg.L3.Enabled {
		return nil, nil
	}
	o := metadata.Options{Log: log, Registerer: reg}
	if m.NovaHost != "" {
		o.Nova = &metadata.Nova{
			Host: m.NovaHost, Port: m.NovaPort, Protocol: m.NovaProtocol, Insecure: m.NovaInsecure, Secret: m.SharedSecret,
			CAFile: m.NovaTLS.CAFile, CertFile: m.NovaTLS.CertFile, KeyFile: m.NovaTLS.KeyFile,
		}
	}
	return metadata.New(o)
}

// besideNetwork is a proxy in the namespace of a network's DHCP.
type besideNetwork struct{ *metadata.Proxy }

// Set implements dhcp.Companion.
func (b besideNetwork) Set(n *model.DHCPNetwork) { b.Proxy.Set(n.Hosts, n.Subnets) }

// besideDHCP is nil without a service.
func besideDHCP(s *metadata.Service) func(string, netns.NsHandle) (dhcp.Companion, error) {
	if s == nil {
		return nil
	}
	return func(name string, ns netns.NsHandle) (dhcp.Companion, error) {
		p, err := s.Open(ns, name, metadata.OnLink)
		if err != nil {
			return nil, err
		}
		return besideNetwork{p}, nil
	}
}

// besideRouter is a proxy in the namespace of a router.
type besideRouter struct{ *metadata.Proxy }

// Set implements router.Companion.
func (b besideRouter) Set(hosts []model.DHCPHost) { b.Proxy.Set(hosts, nil) }

// besideRouters is nil without a service.
func besideRouters(s *metadata.Service) func(string, netns.NsHandle) (router.Companion, error) {
	if s == nil {
		return nil
	}
	return func(name string, ns netns.NsHandle) (router.Companion, error) {
		p, err := s.Open(ns, name, metadata.Redirected)
		if err != nil {
			return nil, err
		}
		return besideRouter{p}, nil
	}
}
