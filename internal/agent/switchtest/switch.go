package switchtest

import (
	"context"
	"fmt"
	"sync"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// Switch is safe for concurrent use.
type Switch struct {
	mu      sync.Mutex
	state   eswitch.State
	events  chan struct{}
	fail    func(eswitch.Change) error // nil = never; called with mu held
	lie     map[eswitch.VFID]bool
	blind   error
	applied int
	looks   int
}

// Spec describes one PF.
type Spec struct {
	PF     string
	Number int // in PCI addresses
	VFs    int
	Lacks  []string // attributes the driver does not have, as eswitch.Diff names them
}

// New returns a switch whose VFs are as a driver leaves them: no MAC, link auto.
func New(specs ...Spec) *Switch {
	s := &Switch{events: make(chan struct{}, 1), lie: map[eswitch.VFID]bool{}}
	for _, spec := range specs {
		pf := eswitch.PF{
			Name: spec.PF, PCISlot: fmt.Sprintf("fffd:%02x:00.0", spec.Number), Driver: "switchtest", NUMANode: -1,
			MTU: 1500, Carrier: true, TotalVFs: spec.VFs,
		}
		for i := range spec.VFs {
			v := eswitch.VF{
				ID: eswitch.VFID{PF: spec.PF, Index: i}, PCISlot: Slot(spec.Number, i),
				Netdev: fmt.Sprintf("%sv%d", spec.PF, i), Driver: "switchtest", Attrs: Fresh(),
			}
			for _, name := range spec.Lacks {
				lack(&v.Attrs, name)
			}
			pf.VFs = append(pf.VFs, v)
		}
		s.state.PFs = append(s.state.PFs, pf)
	}
	return s
}

// Slot is the PCI address of a VF.
func Slot(pf, index int) string { return fmt.Sprintf("fffe:%02x:%02x.%d", pf, index/8, index%8) }

// Fresh are the attributes of a VF that was just made.
func Fresh() eswitch.Attrs {
	a := eswitch.Baseline()
	a.LinkState = eswitch.Set(model.LinkAuto)
	a.MTU = eswitch.Set(1500)
	return a
}

func lack(a *eswitch.Attrs, name string) {
	switch name {
	case "mac":
		a.MAC = eswitch.Unsupported[string]()
	case "vlan":
		a.VLAN = eswitch.Unsupported[int]()
	case "spoof_check":
		a.SpoofCheck = eswitch.Unsupported[bool]()
	case "trust":
		a.Trust = eswitch.Unsupported[bool]()
	case "link_state":
		a.LinkState = eswitch.Unsupported[model.LinkState]()
	case "min_tx_rate":
		a.MinTxRate = eswitch.Unsupported[int]()
	case "max_tx_rate":
		a.MaxTxRate = eswitch.Unsupported[int]()
	case "mtu":
		a.MTU = eswitch.Unsupported[int]()
	case "allowed":
		a.Allowed = eswitch.Unsupported[[]model.AllowedSource]()
	}
}

// Observe returns a copy of the state.
func (s *Switch) Observe(ctx context.Context) (eswitch.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.blind != nil {
		return eswitch.State{}, s.blind
	}
	if err := ctx.Err(); err != nil {
		return eswitch.State{}, err
	}
	return s.copyState(), nil
}

func (s *Switch) copyState() eswitch.State {
	var out eswitch.State
	for _, pf := range s.state.PFs {
		pf.VFs = append([]eswitch.VF(nil), pf.VFs...)
		out.PFs = append(out.PFs, pf)
	}
	return out
}

// State is what Observe would return, without counting as a look.
func (s *Switch) State() eswitch.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyState()
}

// Apply changes attributes; an unsupported one fails and the rest is still done.
func (s *Switch) Apply(ctx context.Context, changes []eswitch.Change) []eswitch.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]eswitch.Result, len(changes))
	for i, c := range changes {
		s.applied++
		out[i] = eswitch.Result{VF: c.VF, Err: ctx.Err()}
		if out[i].Err == nil {
			out[i].Err = s.apply(c)
		}
	}
	return out
}

func (s *Switch) apply(c eswitch.Change) error {
	v := s.vf(c.VF)
	if v == nil {
		return fmt.Errorf("VF %d of %s: %w", c.VF.Index, c.VF.PF, eswitch.ErrNoVF)
	}
	var failed error
	if s.fail != nil {
		failed = s.fail(c)
	}
	if s.lie[c.VF] {
		return nil
	}
	// Half of it is done when it fails: the MAC is, the rest is not.
	err := merge("mac", &v.Attrs.MAC, c.Attrs.MAC, nil)
	if failed != nil {
		return failed
	}
	err = merge("vlan", &v.Attrs.VLAN, c.Attrs.VLAN, err)
	err = merge("spoof_check", &v.Attrs.SpoofCheck, c.Attrs.SpoofCheck, err)
	err = merge("trust", &v.Attrs.Trust, c.Attrs.Trust, err)
	err = merge("link_state", &v.Attrs.LinkState, c.Attrs.LinkState, err)
	err = merge("min_tx_rate", &v.Attrs.MinTxRate, c.Attrs.MinTxRate, err)
	err = merge("max_tx_rate", &v.Attrs.MaxTxRate, c.Attrs.MaxTxRate, err)
	err = merge("mtu", &v.Attrs.MTU, c.Attrs.MTU, err)
	return merge("allowed", &v.Attrs.Allowed, c.Attrs.Allowed, err)
}

func merge[T any](name string, have *eswitch.Attr[T], want eswitch.Attr[T], err error) error {
	switch {
	case !want.IsSet():
	case have.IsUnsupported():
		return fmt.Errorf("%s: %w", name, eswitch.ErrUnsupported)
	default:
		*have = want
	}
	return err
}

func (s *Switch) vf(id eswitch.VFID) *eswitch.VF {
	for i := range s.state.PFs {
		if s.state.PFs[i].Name != id.PF {
			continue
		}
		for j := range s.state.PFs[i].VFs {
			if s.state.PFs[i].VFs[j].ID == id {
				return &s.state.PFs[i].VFs[j]
			}
		}
	}
	return nil
}

// Events is fed by Disturb.
func (s *Switch) Events() <-chan struct{} { return s.events }

// Capabilities says that everything is there; what is not shows in Observe.
func (s *Switch) Capabilities(string) eswitch.Capabilities {
	return eswitch.Capabilities{MAC: true, VLAN: true, SpoofCheck: true, Trust: true, LinkState: true, MinTxRate: true, MaxTxRate: true, MTU: true, Allowed: true}
}

// Close does nothing.
func (s *Switch) Close() error { return nil }

// Disturb changes VFs behind the agent's back. With announce, an event tells of it.
func (s *Switch) Disturb(announce bool, change func(*eswitch.State)) {
	s.mu.Lock()
	change(&s.state)
	s.mu.Unlock()
	if announce {
		select {
		case s.events <- struct{}{}:
		default:
		}
	}
}

// FailWith makes changes fail for which f returns an error; nil ends it.
func (s *Switch) FailWith(f func(eswitch.Change) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Lie makes a VF accept changes and not carry them out.
func (s *Switch) Lie(id eswitch.VFID, lie bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lie[id] = lie
}

// Blind makes Observe fail; nil ends it.
func (s *Switch) Blind(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = err
}

// Counts returns how many changes were made and how often the state was looked at.
func (s *Switch) Counts() (applied, looks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied, s.looks
}

// VF returns one VF.
func (s *Switch) VF(id eswitch.VFID) eswitch.VF {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.vf(id); v != nil {
		return *v
	}
	return eswitch.VF{}
}
