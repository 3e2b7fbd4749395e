package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// trace is the answer to GET /ports/{id}/trace: how a port came from the API to its VF.
type trace struct {
	PortID  string       `json:"port_id"`
	Name    string       `json:"name"`
	Status  string       `json:"status"`
	Reason  string       `json:"status_reason,omitempty"`
	MAC     string       `json:"mac_address"`
	Host    string       `json:"host,omitempty"`
	VLAN    int          `json:"vlan,omitempty"` // 0 = untagged, or not bound
	PF      string       `json:"pf,omitempty"`
	VF      *int         `json:"vf,omitempty"`
	PCISlot string       `json:"pci_slot,omitempty"`
	Events  []traceEvent `json:"events"`
	Hangs   *traceHang   `json:"hangs,omitempty"` // nil = ACTIVE
	Changed string       `json:"changed,omitempty"`
	Clocks  string       `json:"clocks,omitempty"`
}

// traceEvent is one step that was made. Times of the agent and of the switch are by the
// host's clock, the others by the controller's.
type traceEvent struct {
	At     string   `json:"at"` // RFC 3339, microseconds
	Where  string   `json:"where"`
	What   string   `json:"what"`
	TookMS *float64 `json:"took_ms,omitempty"` // since the event before; absent where clocks disagree
	Detail string   `json:"detail,omitempty"`
}

// traceHang says at which step a port that is not ACTIVE stopped.
type traceHang struct {
	Step string `json:"step"`
	Why  string `json:"why"`
	Next string `json:"next"` // what to look at
}

// tracePort serves GET /ports/{id}/trace.
func tracePort(rq *request, v *view, p *model.Port) error {
	text, err := json.Marshal(map[string]any{"trace": traceOf(v, p)})
	if err != nil {
		return fmt.Errorf("write the trace of port %s: %w", p.ID, err)
	}
	return rq.reply(http.StatusOK, func(b []byte) []byte { return append(b, text...) })
}

func tracePath() action[model.Port] {
	return action[model.Port]{Method: http.MethodGet, May: adminOrReader, Do: func(rq *request, v *view, p *model.Port) error {
		if !rq.who.may(adminOrReader, owners{project: p.ProjectID}) { // a parent network's owner is not the port's
			return fault.PortNotFound(p.ID)
		}
		return tracePort(rq, v, p)
	}}
}

func traceOf(v *view, p *model.Port) *trace {
	att, _ := neutron.AttachmentOf(p, v.network(p.NetworkID))
	j := &p.Journey
	t := &trace{PortID: p.ID, Name: p.Name, Status: p.Status, MAC: p.MAC, Events: []traceEvent{}}
	// Hosts and their devices are for those who run them, as binding:host_id is.
	full := v.who.all(adminOnly)
	said := att != nil && j.Attachment == att.Revision
	if full {
		t.Reason, t.Host = p.StatusReason, p.Binding.Host
		if att != nil {
			t.VLAN = att.VLAN
		}
		if j.PF != "" {
			vf := j.VF
			t.PF, t.VF, t.PCISlot = j.PF, &vf, j.PCISlot
		}
	}
	t.events(p, att, full)
	t.Clocks = skew(j.Moments)
	if p.Status == model.StatusActive && j.Attachment != 0 && !said {
		t.Changed = "the port has changed since; the host has not answered for it as it is now"
	}
	if p.Status != model.StatusActive {
		t.Hangs = hangOf(v, p, att, said)
		if !full {
			t.Hangs.Why, t.Hangs.Next = "it has not come further", "ask whoever runs the cloud, with the id of the port"
		}
	}
	return t
}

// events lists the moments that are known, in the order of the way.
func (t *trace) events(p *model.Port, att *model.Attachment, full bool) {
	j, agent := &p.Journey, "agent"
	if full {
		agent += " " + p.Binding.Host
	}
	var last model.Moment
	add := func(at model.Moment, where, what, detail string) {
		if at == 0 {
			return
		}
		e := traceEvent{At: at.Time().Format("2006-01-02T15:04:05.000000Z07:00"), Where: where, What: what}
		if full {
			e.Detail = detail
		}
		if last != 0 && at >= last {
			ms := float64(at-last) / 1000
			e.TookMS = &ms
		}
		last = at
		t.Events = append(t.Events, e)
	}
	add(j.Created, "api", "created", "")
	if p.Binding.Bound() {
		detail := fmt.Sprintf("by %s, to host %s, segment %s", p.Binding.Driver, p.Binding.Host, p.Binding.SegmentID)
		if att != nil && att.VLAN != 0 {
			detail += fmt.Sprintf(", VLAN %d of %s", att.VLAN, att.PhysicalNetwork)
		}
		add(j.Bind, "controller", "bound", detail)
	} else {
		add(j.Bind, "controller", "could not be bound", p.StatusReason)
	}
	if j.Attachment != 0 {
		m, known := j.Moments, ""
		if m.Told != 0 && m.Told < j.Bind {
			known = "before the port was bound again: for the host nothing changed"
		}
		add(m.Told, "controller", "told to the host", known)
		add(m.Received, agent, "received", "")
		add(m.Recorded, agent, "recorded on disk", "")
		device := ""
		if j.PF != "" {
			device = fmt.Sprintf("%s VF %d (%s)", j.PF, j.VF, j.PCISlot)
		}
		add(m.Programmed, "switch", "programmed", device)
		if p.StatusReason == "" {
			add(m.ReadBack, "switch", "read back as asked", device)
		}
		add(m.Heard, "controller", "report came", p.StatusReason)
		add(j.Settled, "controller", "report committed", "")
	}
	stayed := ""
	if j.Settled != 0 && j.Active < j.Settled {
		stayed = "and has been since: the changes after it were carried out without a break"
	}
	add(j.Active, "api", "ACTIVE", stayed)
}

// skew says how the host's clock differs from the controller's, as far as it shows: what the
// host did lies between being told and reporting.
func skew(m model.Moments) string {
	apart := func(d model.Moment, word string) string {
		return fmt.Sprintf("the host's clock is at least %s %s the controller's; times between the two do not compare",
			time.Duration(d)*time.Microsecond, word)
	}
	last := max(m.Received, m.Recorded, m.Programmed, m.ReadBack)
	switch {
	case m.Told != 0 && m.Received != 0 && m.Received < m.Told:
		return apart(m.Told-m.Received, "behind")
	case m.Heard != 0 && last > m.Heard:
		return apart(last-m.Heard, "ahead of")
	}
	return ""
}

// hangOf says where a port that is not ACTIVE stopped.
func hangOf(v *view, p *model.Port, att *model.Attachment, said bool) *traceHang {
	b, m := &p.Binding, p.Journey.Moments
	onHost := "on host " + b.Host + ": `neutrino vf list`, and the log of the agent"
	switch {
	case b.Host == "":
		return &traceHang{"bind", "no host is asked for: binding:host_id is empty", "neutrino port set " + p.ID + " --host HOST"}
	case !b.Bound():
		return &traceHang{"bind", orElse(p.StatusReason, "no mechanism driver binds it"), "neutrino agent list; vnic_type and physical network of the port"}
	case !p.AdminStateUp:
		return &traceHang{"ACTIVE", "the port is administratively down", "neutrino port set " + p.ID + " --up"}
	case att == nil:
		return &traceHang{"tell the host", "no agent carries ports of mechanism driver " + b.Driver + " with vif_type " + b.VIFType, "whoever plugs it has to make it ACTIVE"}
	case !said && !slices.ContainsFunc(slices.Collect(v.t.Agents.By(v.snap, neutron.ByHost, b.Host)),
		func(a *model.Agent) bool { return v.svc.Alive(v.snap, a.ID) }):
		return &traceHang{"tell the host", "no agent of host " + b.Host + " is alive", "neutrino agent list; on the host: is `neutrino agent` running, and does it reach the controller"}
	case !said:
		return &traceHang{"report", "host " + b.Host + " has not reported the port as it is asked for now", onHost}
	case m.Heard == 0: // the controller's own word
		return &traceHang{"tell the host", p.StatusReason, "the port's attributes and its network's"}
	case m.Received != 0 && m.Recorded == 0:
		return &traceHang{"record", p.StatusReason, onHost}
	case p.Journey.PF == "":
		return &traceHang{"choose a VF", p.StatusReason, onHost}
	case m.Programmed == 0:
		return &traceHang{"program", p.StatusReason, onHost}
	}
	return &traceHang{"read back", p.StatusReason, onHost}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
