package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.etcd.io/bbolt"

	"neutrino/internal/agent"
	"neutrino/internal/config"
	"neutrino/internal/eswitch"
	"neutrino/internal/hostapi"
	"neutrino/internal/libvirt"
	"neutrino/internal/pci"
	"neutrino/internal/plug"
)

// plugRole is the plug engine together with the socket on which it is asked.
type plugRole struct {
	cfg *config.Config
	log *slog.Logger
	sw  eswitch.Switch
	br  *bridges // nil = none
	*plug.Engine
	ports agent.Ports
}

// start makes the engine when the agent's loop asks for it.
func (p *plugRole) start(db *bbolt.DB, ports agent.Ports) (agent.Plugs, error) {
	o := plug.Options{Devices: &plug.HostDevices{Sys: &pci.Sys{}}, Log: p.log}
	if p.cfg.Libvirt.URI != "" {
		c, err := libvirt.New(p.cfg.Libvirt.URI)
		if err != nil {
			return nil, fmt.Errorf("[libvirt] uri: %w", err)
		}
		o.Domains = plug.LibvirtDomains{Client: c}
	}
	if p.br != nil {
		o.Bridges = plug.OpenVSwitch{Switch: p.br.Switch}
	}
	var err error
	p.Engine, err = plug.New(db, ports, o)
	p.ports = ports
	return p, err
}

// Run implements agent.Plugs: the engine works and the socket answers.
func (p *plugRole) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve(ctx)
	}()
	p.Engine.Run(ctx)
	<-done
}

// serve answers on the socket. An agent whose socket cannot be made does its other work.
func (p *plugRole) serve(ctx context.Context) {
	s := &hostapi.Server{Switch: p.sw, Ports: p.ports, Engine: p.Engine, XML: plug.InterfaceXML, Log: p.log}
	err := s.Serve(ctx, p.cfg.Agent.Socket, p.cfg.Agent.SocketGroup)
	if err != nil && !errors.Is(err, context.Canceled) {
		p.log.Error("the agent's socket does not answer: `neutrino vif` and `neutrino vf` do not work", "socket", p.cfg.Agent.Socket, "error", err)
	}
}
