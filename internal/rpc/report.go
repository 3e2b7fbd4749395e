package rpc

import (
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// EncodeReport converts to the wire. A reason that is too long, or no UTF-8 (it may
// quote a driver), is made fit.
func EncodeReport(r *model.PortReport) *fabricv1.PortReport {
	return &fabricv1.PortReport{
		PortId: r.PortID, Revision: r.Revision, Up: r.Up, Reason: fitReason(r.Reason),
		Pf: r.PF, Vf: int32(min(max(r.VF, -1), 1<<16)), PciSlot: r.PCISlot, Moments: encodeMoments(r.Moments),
	}
}

// fitReason makes words that may quote a driver fit for the wire.
func fitReason(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText-3], "") + "..."
	}
	return s
}

// DecodeReports converts the ports of a message and validates every field.
func DecodeReports(in *fabricv1.Reports) ([]model.PortReport, error) {
	var c checks
	if in.GetSeq() == 0 {
		c.fail("seq", "missing")
	}
	if !c.count("reports", len(in.GetReports()), MaxReports) {
		return nil, c.err
	}
	out := make([]model.PortReport, 0, len(in.GetReports()))
	for _, r := range in.GetReports() {
		c.id("reports.port_id", r.GetPortId())
		c.text("reports.reason", r.GetReason(), maxText)
		c.slot("reports.pci_slot", r.GetPciSlot())
		if r.GetPf() != "" && CheckNetdev(r.GetPf()) != nil {
			c.fail("reports.pf", "%.40q is not a device name", r.GetPf())
		}
		if r.GetVf() < -1 || r.GetVf() > 1<<16 {
			c.fail("reports.vf", "%d is not the index of a VF", r.GetVf())
		}
		out = append(out, model.PortReport{
			PortID: r.GetPortId(), Revision: r.GetRevision(), Up: r.GetUp(), Reason: r.GetReason(),
			PF: r.GetPf(), VF: int(r.GetVf()), PCISlot: r.GetPciSlot(), Moments: decodeMoments(&c, r.GetMoments()),
		})
	}
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}

// encodeMoments sends what only the agent knows.
func encodeMoments(m model.Moments) *fabricv1.Moments {
	known := func(at model.Moment) *int64 {
		if at <= 0 || at > model.LastMoment {
			return nil
		}
		us := int64(at)
		return &us
	}
	out := &fabricv1.Moments{
		ReceivedUs: known(m.Received), RecordedUs: known(m.Recorded), ProgrammedUs: known(m.Programmed), ReadBackUs: known(m.ReadBack),
	}
	if out.ReceivedUs == nil && out.RecordedUs == nil && out.ProgrammedUs == nil && out.ReadBackUs == nil {
		return nil
	}
	return out
}

func decodeMoments(c *checks, in *fabricv1.Moments) model.Moments {
	read := func(field string, us int64) model.Moment {
		if us < 0 || us > int64(model.LastMoment) {
			c.fail("reports.moments."+field, "%d is not a time in microseconds since 1970", us)
			return 0
		}
		return model.Moment(us)
	}
	return model.Moments{
		Received: read("received_us", in.GetReceivedUs()), Recorded: read("recorded_us", in.GetRecordedUs()),
		Programmed: read("programmed_us", in.GetProgrammedUs()), ReadBack: read("read_back_us", in.GetReadBackUs()),
	}
}
