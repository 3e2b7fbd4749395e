package neutron

import (
	"context"
	"maps"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// reportsPerTx bounds the ports whose status one transaction changes.
const reportsPerTx = 48

// ReportPorts takes what a host says of its attachments: a port that is carried out as it
// is asked for now becomes ACTIVE (DOWN when it is administratively down), one that failed
// becomes DOWN with the host's reason. What a host says of another host's ports, or of an
// attachment that has changed since, is ignored.
func (s *Service) ReportPorts(ctx context.Context, host string, r []model.PortReport) error {
	for batch := range slices.Chunk(r, reportsPerTx) {
		err := s.update(ctx, "recording reports of host "+host, func(tx *store.Tx) error {
			for _, report := range batch {
				s.reportPort(tx, host, report)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) reportPort(tx *store.Tx, host string, r model.PortReport) {
	// Looked at in the view first, so that stale reports cost no comparison.
	seen, ok := s.t.Ports.Get(tx.Snapshot(), r.PortID)
	if !ok || seen.Binding.Host != host {
		return
	}
	old, ok := s.t.Ports.Read(tx, r.PortID)
	if !ok || old.Binding.Host != host {
		return
	}
	n, ok := s.t.Networks.Get(tx.Snapshot(), old.NetworkID)
	if !ok {
		return
	}
	a, ok := AttachmentOf(old, n)
	if !ok || a.Revision != r.Revision {
		s.log.Debug("report of an attachment that is not asked for any more", "port", r.PortID, "host", host)
		return
	}
	p := old.Clone()
	applyReport(p, r)
	changed := !same(old, p)
	// The first report of an attachment is noted also where it changes nothing. It is no
	// change of the port then: its revision_number stays.
	if !changed && (old.Journey.Bind == 0 || old.Journey.Attachment == r.Revision) {
		return
	}
	noteReport(p, r, s.moment())
	if changed {
		s.bump(&p.Meta)
	}
	s.t.Ports.Put(tx, p)
}

// noteReport writes a report into the journey of a port to which it was applied.
func noteReport(p *model.Port, r model.PortReport, now model.Moment) {
	j := &p.Journey
	if j.Attachment == r.Revision {
		r.Moments = r.Moments.Over(j.Moments)
	}
	j.Attachment, j.Moments, j.Settled = r.Revision, r.Moments, now
	j.PF, j.VF, j.PCISlot = r.PF, r.VF, r.PCISlot
	switch {
	case p.Status != model.StatusActive:
		j.Active = 0
	case j.Active == 0:
		j.Active = now
	}
}

// applyReport writes a report on the port. Where the host chose the VF itself, vif_details
// says which one it is.
func applyReport(p *model.Port, r model.PortReport) {
	p.Status, p.StatusReason = model.StatusDown, r.Reason
	if r.Up {
		p.StatusReason = ""
		if p.AdminStateUp {
			p.Status = model.StatusActive
		}
	}
	if r.Up && r.PCISlot != "" && p.Binding.PCISlot() == "" {
		p.Binding.VIFDetails = maps.Clone(p.Binding.VIFDetails)
		if p.Binding.VIFDetails == nil {
			p.Binding.VIFDetails = make(map[string]any, 1)
		}
		p.Binding.VIFDetails["pci_slot"] = r.PCISlot
	}
}
