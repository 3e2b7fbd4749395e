package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// Assignment records that a VF belongs to a port. The PCI slot is what identifies the
// VF; PF and index follow it.
type Assignment struct {
	PortID  string `json:"port_id"`
	PF      string `json:"pf"`
	Index   int    `json:"index"`
	PCISlot string `json:"pci_slot"`
	Netdev  string `json:"netdev,omitempty"` // the last name it had in the agent's namespace
	// Generation fences: it is larger than that of any earlier assignment of the host,
	// so a release that names an older one comes too late and does nothing.
	Generation uint64 `json:"generation"`
}

// Assignments are keyed by port id. No two name the same VF.
type Assignments map[string]Assignment

// World is all that a plan depends on. Compute changes none of it.
type World struct {
	Desired  map[string]*model.Attachment // by port id
	Observed eswitch.State
	Assigned Assignments
	Mappings map[string][]string // physical network -> PFs
	Excluded map[string]bool     // PCI slots of VFs that are not the agent's

	Plugged    map[string]Plugged   // by PCI slot
	Returning  map[string]Returning // by PCI slot
	Foreign    map[string]string    // PCI slot -> who uses the VF without our doing
	Generation uint64               // the last one given
}

// Kind of a Step.
type Kind int

// A Return brings a VF to the baseline; a Program gives it a port's attributes.
const (
	Return Kind = iota
	Program
)

// Step is one change of one VF.
type Step struct {
	Kind     Kind
	PortID   string // Program: the port; Return: the port that waits for it, or ""
	Describe string
	Do       eswitch.Change
	// Undo takes back a half-done Program of a VF that was clean before: such a VF is
	// not left with a part of an identity. It is empty where leaving what was achieved
	// is better, that is on a VF that carries the port already.
	Undo eswitch.Change
}

// Verdict says how a desired port stands as observed.
type Verdict struct {
	Up     bool
	Reason string // in words; "" when Up
	VF     Assignment
	Held   bool // VF is the port's
}

// Plan is what leads from the observed towards the desired state.
type Plan struct {
	// Assigned, Returning and Generation must be on disk before the first step.
	Assigned   Assignments
	Returning  map[string]Returning
	Generation uint64
	// Release lists PCI slots of VFs to be unplugged: their port has them no longer.
	Release []string
	// Strangers lists PCI slots about which the plan assumes that nobody uses the VF
	// unknown to us; see World.Foreign.
	Strangers []string
	// Returns run before Programs: an identity is taken away before it is given anew.
	Returns  []Step
	Programs []Step
	Verdicts map[string]Verdict
}

// Compute plans. It is pure and deterministic, safe with any input, and idempotent: with
// its steps carried out, the next plan has none (where a VF changed hands, the one
// after: it passes through the baseline).
func Compute(w World) Plan {
	b := newBoard(w)
	p := Plan{Assigned: b.assign(), Verdicts: make(map[string]Verdict, len(w.Desired))}
	p.Generation = b.generation
	owner := make(map[string]string, len(p.Assigned)) // PCI slot -> port
	for port, a := range p.Assigned {
		owner[a.PCISlot] = port
	}
	for _, v := range b.managed {
		if owner[v.PCISlot] == "" && !clean(v) && w.Foreign[v.PCISlot] == "" {
			p.Returns = append(p.Returns, returnStep(v, ""))
		}
	}
	p.Returning = b.returning(p.Assigned, owner)
	p.Release = b.release(p.Assigned)
	for _, port := range slices.Sorted(maps.Keys(w.Desired)) {
		att := w.Desired[port]
		a, ok := p.Assigned[port]
		if !ok {
			p.Verdicts[port] = Verdict{Reason: b.refusal[port]}
			continue
		}
		step, verdict := b.port(att, a, owner)
		p.Verdicts[port] = verdict
		switch {
		case step == nil:
		case step.Kind == Return:
			p.Returns = append(p.Returns, *step)
		default:
			p.Programs = append(p.Programs, *step)
		}
	}
	p.Strangers = b.strangers(&p)
	return p
}

// port compares one port with its VF.
func (b *board) port(att *model.Attachment, a Assignment, owner map[string]string) (*Step, Verdict) {
	verdict := Verdict{VF: a, Held: true}
	v, ok := b.bySlot[a.PCISlot]
	if !ok {
		verdict.Reason = b.missing(a)
		return nil, verdict
	}
	want := wanted(att, v.VF)
	todo, cannot := eswitch.Diff(want, v.Attrs)
	cannot = slices.DeleteFunc(cannot, func(name string) bool {
		// A VF that follows its uplink is as good as enabled.
		return name == "link_state" && att.LinkState == model.LinkEnable
	})
	blocked := slices.ContainsFunc(cannot, isolates)
	verdict.Reason = reasons(att, v, todo, cannot)
	verdict.Up = verdict.Reason == ""
	mac, _ := v.Attrs.MAC.Get()
	switch {
	case !blocked && todo.Empty():
		return nil, verdict
	case mac != att.MAC && !clean(v) && !onlyMAC(att, v, todo):
		s := returnStep(v, att.PortID) // it carries somebody else's identity
		return &s, verdict
	case blocked:
		return nil, verdict
	}
	if other := b.carrier(att, v, owner); other != "" {
		verdict.Reason = fmt.Sprintf("VF %s still carries the port's MAC address %s", other, att.MAC)
		verdict.Up = false
		return nil, verdict
	}
	s := Step{
		Kind: Program, PortID: att.PortID, Do: eswitch.Change{VF: v.ID, Attrs: todo},
		Describe: fmt.Sprintf("program VF %d of %s (%s) for port %s: %s", v.ID.Index, v.ID.PF, v.PCISlot, att.PortID, list(todo)),
	}
	if clean(v) {
		s.Undo = eswitch.Change{VF: v.ID, Attrs: v.BaselineAttrs()}
	}
	return &s, verdict
}

// onlyMAC reports whether nothing but the MAC is not the port's: somebody has changed it,
// and it is put back without taking the port through the baseline, off its VLAN.
func onlyMAC(att *model.Attachment, v vf, todo eswitch.Attrs) bool {
	todo.MAC = eswitch.Unset[string]()
	trusted, _ := v.Attrs.Trust.Get()
	return todo.Empty() && (att.Trust != nil || !trusted)
}

// carrier returns the VF that carries the MAC of att and has to lose it first.
func (b *board) carrier(att *model.Attachment, own vf, owner map[string]string) string {
	for _, v := range b.managed {
		if v.PCISlot == own.PCISlot {
			continue
		}
		if mac, _ := v.Attrs.MAC.Get(); mac != att.MAC {
			continue
		}
		other := b.w.Desired[owner[v.PCISlot]]
		if other == nil || other.MAC != att.MAC {
			return v.PCISlot
		}
	}
	return ""
}

func returnStep(v vf, waits string) Step {
	todo, _ := eswitch.Diff(v.BaselineAttrs(), v.Attrs)
	return Step{
		Kind: Return, PortID: waits, Do: eswitch.Change{VF: v.ID, Attrs: todo},
		Describe: fmt.Sprintf("return VF %d of %s (%s) to the baseline: %s", v.ID.Index, v.ID.PF, v.PCISlot, list(todo)),
	}
}

// clean reports whether the VF carries nobody's attributes.
func clean(v vf) bool {
	todo, _ := eswitch.Diff(v.BaselineAttrs(), v.Attrs)
	return todo.Empty()
}

// wanted are the attributes of a port, as far as this VF is asked for them.
func wanted(att *model.Attachment, v eswitch.VF) eswitch.Attrs {
	w := eswitch.Attrs{
		MAC: eswitch.Set(att.MAC), VLAN: eswitch.Set(att.VLAN), SpoofCheck: eswitch.Set(att.SpoofCheck),
		LinkState: eswitch.Set(att.LinkState),
		MinTxRate: eswitch.Set(att.MinTxRate), MaxTxRate: eswitch.Set(att.MaxTxRate),
		Allowed: eswitch.Set(eswitch.SortAllowed(att.Allowed)),
	}
	if att.Trust != nil {
		w.Trust = eswitch.Set(*att.Trust)
	}
	if att.MTU > 0 && !v.Attrs.MTU.IsUnsupported() {
		w.MTU = eswitch.Set(att.MTU)
	}
	return w
}

// isolates tells the attributes without which a port must not run at all.
func isolates(name string) bool { return name == "mac" || name == "vlan" || name == "spoof_check" }

// reasons says in words why the port is not as asked; "" when it is.
func reasons(att *model.Attachment, v vf, todo eswitch.Attrs, cannot []string) string {
	var out []string
	if len(cannot) > 0 {
		out = append(out, fmt.Sprintf("driver %s of %s cannot set %s", cmp.Or(v.Driver, "(unknown)"), v.ID.PF, strings.Join(cannot, ", ")))
	}
	if v.Attrs.MTU.IsUnsupported() && att.MTU > v.pf.MTU && v.pf.MTU > 0 {
		out = append(out, fmt.Sprintf("%s has MTU %d, the network needs %d", v.ID.PF, v.pf.MTU, att.MTU))
	}
	if !todo.Empty() {
		out = append(out, fmt.Sprintf("VF %d of %s (%s) is not as asked: %s", v.ID.Index, v.ID.PF, v.PCISlot, differences(todo, v.Attrs)))
	}
	return strings.Join(out, "; ")
}

type named struct{ name, value string }

func attributes(a eswitch.Attrs) []named {
	var out []named
	add := func(ok bool, name string, s fmt.Stringer) {
		if ok {
			out = append(out, named{name, s.String()})
		}
	}
	add(a.MAC.IsSet(), "mac", a.MAC)
	add(a.VLAN.IsSet(), "vlan", a.VLAN)
	add(a.SpoofCheck.IsSet(), "spoof_check", a.SpoofCheck)
	add(a.Trust.IsSet(), "trust", a.Trust)
	add(a.LinkState.IsSet(), "link_state", a.LinkState)
	add(a.MinTxRate.IsSet(), "min_tx_rate", a.MinTxRate)
	add(a.MaxTxRate.IsSet(), "max_tx_rate", a.MaxTxRate)
	add(a.MTU.IsSet(), "mtu", a.MTU)
	add(a.Allowed.IsSet(), "allowed", a.Allowed)
	return out
}

func list(a eswitch.Attrs) string {
	var out []string
	for _, n := range attributes(a) {
		out = append(out, n.name+" "+n.value)
	}
	return strings.Join(out, ", ")
}

func differences(todo, have eswitch.Attrs) string {
	reads := map[string]string{}
	for _, n := range attributes(have) {
		reads[n.name] = n.value
	}
	var out []string
	for _, n := range attributes(todo) {
		out = append(out, fmt.Sprintf("%s reads %s, asked was %s", n.name, cmp.Or(reads[n.name], "nothing"), n.value))
	}
	return strings.Join(out, ", ")
}
