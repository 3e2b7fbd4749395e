package veb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/rlimit"
)

// TrunkSpec describes a top-of-rack switch. It shares pin directories and names with
// NICs: List shows it, Destroy removes it.
type TrunkSpec struct {
	Name   string   // of the trunk, as of a NIC; no device has it
	PinDir string   // as of a NIC
	Netns  string   // path of the namespace that its ports are in; "" = the calling thread's
	Ports  []string // netdevs that exist: far ends of uplinks. They are brought up
	Attach Attach
}

func (t *TrunkSpec) check() error {
	if !nameRE.MatchString(t.Name) {
		return fmt.Errorf("trunk name %q: want 1 to 9 of letters, digits, '_', '.', '-'", t.Name)
	}
	if t.PinDir == "" || !filepath.IsAbs(t.PinDir) {
		return fmt.Errorf("trunk %s: pin directory %q: want an absolute path", t.Name, t.PinDir)
	}
	seen := map[string]bool{}
	for _, p := range t.Ports {
		if p == "" || seen[p] {
			return fmt.Errorf("trunk %s: port %q: empty or named twice", t.Name, p)
		}
		seen[p] = true
	}
	return nil
}

// CreateTrunk joins ports with a switch that learns {MAC, VLAN}, floods what it does
// not know and passes tags on as they are. Far ends in other namespaces are given
// their frames directly. After an error nothing is left behind.
func CreateTrunk(ctx context.Context, spec TrunkSpec) error {
	if err := spec.check(); err != nil {
		return err
	}
	h := home{pinDir: spec.PinDir, name: spec.Name}
	if err := os.MkdirAll(spec.PinDir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	unlock, err := lockDir(spec.PinDir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := h.read(); !errors.Is(err, ErrNotFound) {
		return errors.Join(fmt.Errorf("create trunk %s: %w", spec.Name, ErrExists), err)
	}
	if err := createTrunk(ctx, h, spec); err != nil {
		return errors.Join(fmt.Errorf("create trunk %s: %w", spec.Name, err), destroy(context.WithoutCancel(ctx), h))
	}
	return nil
}

// DestroyTrunk removes the trunk; its ports stay. It is Destroy by another name.
func DestroyTrunk(ctx context.Context, name, pinDir string) error { return Destroy(ctx, name, pinDir) }

func createTrunk(ctx context.Context, h home, spec TrunkSpec) error {
	ns, err := openNetns(spec.Netns)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	mode, err := attachMode(spec.Attach)
	if err != nil {
		return err
	}
	l, err := openLinks(ns)
	if err != nil {
		return err
	}
	defer l.Close()
	d, err := l.dump(ctx)
	if err != nil {
		return err
	}
	for _, p := range spec.Ports {
		if _, ok := d.byName[p]; !ok {
			return fmt.Errorf("port %s: %w", p, ErrNotFound)
		}
	}
	if err = h.prepare(); err != nil {
		return err
	}
	r := &record{
		Kind: kindTrunk, Ports: spec.Ports, Inode: ns.inode, Attached: mode,
		Spec: Spec{Name: spec.Name, Netns: spec.Netns, Attach: spec.Attach},
	}
	if err = h.write(r); err != nil {
		return err
	}
	o, err := loadTrunk(h, len(spec.Ports))
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }()
	if err := joinTrunk(ctx, h, r, o, ns, l, d); err != nil {
		return err
	}
	r.Complete = true
	return h.write(r)
}

func loadTrunk(h home, ports int) (*torObjects, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	spec, err := loadTor()
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	spec.Maps["trunk_ports"].MaxEntries = uint32(max(ports, 1))
	spec.Maps["trunk_index"].MaxEntries = uint32(max(ports, 1))
	if err := spec.Variables["set_packet_type"].Set(needsPacketType()); err != nil {
		return nil, fmt.Errorf("set packet type: %w", err)
	}
	if err := os.Mkdir(h.pins(), 0o700); err != nil {
		return nil, fmt.Errorf("make pins: %w", err)
	}
	var o torObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	return &o, nil
}

// joinTrunk makes the ports known to the program before any has it.
func joinTrunk(ctx context.Context, h home, r *record, o *torObjects, ns *namespace, l *links, d devices) error {
	for i, name := range r.Ports {
		dev := d.byName[name]
		p := torTrunkPort{Ifindex: uint32(dev.index)}
		if dev.elsewhere {
			p.Peer = 1
		}
		if err := o.TrunkPorts.Put(uint32(i), p); err != nil {
			return fmt.Errorf("write port %s: %w", name, err)
		}
		if err := o.TrunkIndex.Put(uint32(dev.index), uint32(i)); err != nil {
			return fmt.Errorf("write port %s: %w", name, err)
		}
		if err := l.setUp(dev.index, true); err != nil {
			return fmt.Errorf("bring %s up: %w", name, err)
		}
	}
	return ns.do(func() error {
		for _, name := range r.Ports {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := quiet(name); err != nil {
				return err
			}
			if err := attach(h, r.Attached, name, d.byName[name].index, o.TrunkIn); err != nil {
				return err
			}
		}
		return nil
	})
}
