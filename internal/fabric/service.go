package fabric

import (
	"context"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
	"neutrino/internal/trunk"
)

// lease is what a host's liveness hangs on.
type lease interface {
	// KeepAlive renews it once; an error may mean that it is gone.
	KeepAlive(ctx context.Context) error
}

// plane is what the fabric uses of the control plane, on its current state.
type plane interface {
	NewLease(ctx context.Context, ttl time.Duration) (lease, error)
	AgentUp(ctx context.Context, a model.Agent, l lease) (*model.Agent, error)
	AgentBeat(ctx context.Context, agentID string) error
	ReportPorts(ctx context.Context, host string, r []model.PortReport) error
	// The channels close when the result may have changed.
	Attachments(host string) ([]*model.Attachment, <-chan struct{})
	DHCPNetworks(agentID string) ([]*model.DHCPNetwork, <-chan struct{})
	Port(id string) (*model.Port, bool)
	ReportRouters(ctx context.Context, host string, r []model.RouterReport) error
	RouterSpecs(agentID string) ([]*model.RouterSpec, <-chan struct{})
	// RouterSettled reports whether a report of a router as spec has it would change nothing.
	RouterSettled(spec *model.RouterSpec, r model.RouterReport) bool
	// Probes are the verifications of the trunk that there are.
	Probes() ([]*trunk.Run, <-chan struct{})
	RecordProbe(ctx context.Context, host string, r *trunk.Result) error
}

// servicePlane is the real one.
type servicePlane struct{ svc *neutron.Service }

func (p servicePlane) NewLease(ctx context.Context, ttl time.Duration) (lease, error) {
	l, err := p.svc.DB().NewLease(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (p servicePlane) AgentUp(ctx context.Context, a model.Agent, l lease) (*model.Agent, error) {
	return p.svc.AgentUp(ctx, a, l.(store.Lease)) //nolint:errcheck // made by NewLease above
}

func (p servicePlane) AgentBeat(ctx context.Context, agentID string) error {
	return p.svc.AgentBeat(ctx, agentID)
}

func (p servicePlane) ReportPorts(ctx context.Context, host string, r []model.PortReport) error {
	return p.svc.ReportPorts(ctx, host, r)
}

func (p servicePlane) Attachments(host string) ([]*model.Attachment, <-chan struct{}) {
	return p.svc.Attachments(p.svc.DB().Snapshot(), host)
}

func (p servicePlane) DHCPNetworks(agentID string) ([]*model.DHCPNetwork, <-chan struct{}) {
	return p.svc.DHCPNetworks(p.svc.DB().Snapshot(), agentID)
}

func (p servicePlane) Port(id string) (*model.Port, bool) {
	return p.svc.Tables().Ports.Get(p.svc.DB().Snapshot(), id)
}

func (p servicePlane) ReportRouters(ctx context.Context, host string, r []model.RouterReport) error {
	return p.svc.ReportRouters(ctx, host, r)
}

func (p servicePlane) RouterSpecs(agentID string) ([]*model.RouterSpec, <-chan struct{}) {
	return p.svc.RouterSpecs(p.svc.DB().Snapshot(), agentID)
}

func (p servicePlane) RouterSettled(spec *model.RouterSpec, r model.RouterReport) bool {
	return p.svc.RouterSettled(spec, r)
}

func (p servicePlane) Probes() ([]*trunk.Run, <-chan struct{}) {
	return p.svc.Probes(p.svc.DB().Snapshot())
}

func (p servicePlane) RecordProbe(ctx context.Context, host string, r *trunk.Result) error {
	return p.svc.RecordProbe(ctx, host, r)
}
