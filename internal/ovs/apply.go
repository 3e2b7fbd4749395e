package ovs

import (
	"context"
	"errors"
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Set makes the bridges carry exactly these ports and returns how each stands, as the
// database shows it. It changes only what differs, in one transaction. A port that
// nobody has made yet is no error. Set returns when the database has taken the change;
// Events tells when Open vSwitch has carried it out.
func (s *Switch) Set(ctx context.Context, ports []Port) (map[string]Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, db, err := s.view()
	if err != nil {
		return nil, err
	}
	blocked, moves, refused := s.uplinks(v)
	changes, status := compute(v, s.o.Bridges, s.o.Datapath, ports, blocked)
	if changes, err = v.recordMoves(changes, moves); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		s.setUp(blocked)
		return status, errors.Join(refused, s.finishMoves(ctx))
	}
	for _, c := range changes {
		s.o.Log.Debug("step", "do", c.describe)
	}
	if err = s.commit(ctx, db, v, changes); err != nil {
		return status, errors.Join(refused, err)
	}
	// Read back: the monitor's word on the transaction comes before its reply (RFC 7047,
	// 4.1.6), so the view is that of the database after the change.
	if v, _, err = s.view(); err != nil {
		return nil, err
	}
	s.setUp(blocked)
	left, status := compute(v, s.o.Bridges, s.o.Datapath, ports, blocked)
	for id, st := range status {
		if st.Err == nil && touches(left, id) {
			st.Err = errors.New("the database does not show what was written; it is tried again")
			status[id] = st
		}
	}
	return status, errors.Join(refused, s.finishMoves(ctx))
}

// uplinks says which uplinks must not be taken, by netdev, and what is to move to bridges from
// theirs, by bridge. refused says the former in full.
func (s *Switch) uplinks(v *view) (blocked map[string]error, moves map[string]*move, refused error) {
	blocked, moves = map[string]error{}, map[string]*move{}
	for _, b := range s.o.Bridges {
		has := v.hasPort(b.Name, b.Uplink)
		if b.Uplink == "" || (has && !s.o.MoveAddresses) {
			continue
		}
		no := s.unmovable[b.Uplink]
		if !has && no == nil {
			no = s.o.MayTake(b.Uplink)
		}
		m, err := planMove(b.Uplink)
		switch {
		case s.o.MoveAddresses && s.unmovable[b.Uplink] == nil && err == nil && (no == nil || errors.Is(no, ErrUplink)):
			if recorded := v.bridges[b.Name].ExternalIDs[keyMove] != ""; !m.empty() && !recorded {
				moves[b.Name] = m
			}
			continue
		case no == nil:
			no = err
		case err == nil && !m.empty():
			no = fmt.Errorf("%w; it would need: %s; [ovs] move_uplink_addresses = true has that done", no, m.byHand(b.Uplink, b.Name))
		}
		if no != nil && !has {
			blocked[b.Uplink] = no
		}
		if no != nil {
			refused = errors.Join(refused, fmt.Errorf("make %s the uplink of %s: %w", b.Uplink, b.Name, no))
		}
	}
	return blocked, moves, refused
}

// touches reports whether something is still to be done for a port.
func touches(changes []change, portID string) bool {
	for _, c := range changes {
		if c.addPort != nil && c.addPort.port.ExternalIDs[keyOwned] == portID {
			return true
		}
		if c.setPort != nil && (c.setPort.ExternalIDs[keyOwned] == portID || c.setPort.ExternalIDs[keyTagged] == portID) {
			return true
		}
	}
	return false
}

func (v *view) hasPort(bridge, port string) bool {
	for _, p := range v.sortedPorts(v.bridges[bridge]) {
		if p.Name == port {
			return true
		}
	}
	return false
}

// Add makes a port at once: of the netdev that is called as [Name] says, or, where it is to be
// Internal, as Set does. One that is there, whoever made it, is left as it is.
func (s *Switch) Add(ctx context.Context, p Port) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, db, err := s.view()
	if err != nil {
		return err
	}
	c := &computation{view: v}
	for _, row := range v.sortedPorts(v.bridges[p.Bridge]) {
		if c.portID(row) == p.ID {
			return nil
		}
	}
	if _, ok := v.bridges[p.Bridge]; !ok {
		return fmt.Errorf("make a port in bridge %s: %w", p.Bridge, ErrNoBridge)
	}
	return s.commit(ctx, db, v, []change{{describe: "make " + Name(p.ID), bridge: p.Bridge, addPort: madePort(p)}})
}

// Await waits until a port is in place; see [Status.Up]. When ctx ends before, the error says what is amiss, too.
func (s *Switch) Await(ctx context.Context, p Port) error {
	for {
		next := s.next()
		v, _, err := s.view()
		if err == nil {
			_, all := compute(v, nil, "", []Port{p}, nil)
			st := all[p.ID]
			if st.Up() {
				return nil
			}
			err = st.Err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Remove takes away what Add or Set made for a port. What somebody else made stays.
func (s *Switch) Remove(ctx context.Context, portID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, db, err := s.view()
	if err != nil {
		return err
	}
	var changes []change
	for _, name := range v.bridgeNames() {
		for _, row := range v.sortedPorts(v.bridges[name]) {
			if row.ExternalIDs[keyOwned] == portID {
				p := row
				changes = append(changes, change{describe: "remove " + row.Name, bridge: name, removePort: &p})
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return s.commit(ctx, db, v, changes)
}

// commit carries changes out in one transaction.
func (s *Switch) commit(ctx context.Context, db client.Client, v *view, changes []change) error {
	t := &transaction{db: db, v: v, bridges: map[string]string{}}
	for i := range changes {
		if err := t.add(i, &changes[i]); err != nil {
			return fmt.Errorf("%s: %w", changes[i].describe, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, transactDeadline)
	defer cancel()
	reply, err := db.Transact(ctx, t.ops...)
	if err != nil {
		return fmt.Errorf("change Open vSwitch (%s, ...): %w: %w", changes[0].describe, ErrUnavailable, err)
	}
	if bad, err := ovsdb.CheckOperationResults(reply, t.ops); err != nil {
		return fmt.Errorf("change Open vSwitch (%s, ...): %w: %v", changes[0].describe, err, bad)
	}
	return nil
}

// transaction gathers operations. Rows that it inserts have names that later ones refer to.
type transaction struct {
	db      client.Client
	v       *view
	ops     []ovsdb.Operation
	bridges map[string]string // name -> UUID or the name of the inserted row
}

func (t *transaction) add(n int, c *change) error {
	api := t.db
	switch {
	case c.makeBridge != nil:
		return t.makeBridge(n, c.makeBridge)
	case c.setBridge != nil:
		return t.put(api.Where(c.setBridge).Update(c.setBridge, &c.setBridge.ExternalIDs))
	case c.addPort != nil:
		return t.addPort(n, c.bridge, c.addPort)
	case c.setPort != nil:
		return t.put(api.Where(c.setPort).Update(c.setPort, &c.setPort.Tag, &c.setPort.VLANMode, &c.setPort.Trunks, &c.setPort.Protected, &c.setPort.ExternalIDs, &c.setPort.OtherConfig))
	case c.setIface != nil:
		return t.put(api.Where(c.setIface).Update(c.setIface, &c.setIface.MTURequest, &c.setIface.ExternalIDs))
	case c.removePort != nil:
		b := t.v.bridges[c.bridge]
		// The rows of a port that no bridge refers to are collected by the database.
		return t.put(api.Where(&b).Mutate(&b, model.Mutation{Field: &b.Ports, Mutator: ovsdb.MutateOperationDelete, Value: []string{c.removePort.UUID}}))
	}
	return nil
}

func (t *transaction) put(ops []ovsdb.Operation, err error) error {
	t.ops = append(t.ops, ops...)
	return err
}

// makeBridge makes a bridge with its local port, as ovs-vsctl add-br does.
func (t *transaction) makeBridge(n int, b *bridge) error {
	row := *b
	row.UUID = fmt.Sprintf("bridge%d", n)
	local := &newPort{port: portRow{Name: b.Name}, iface: iface{Name: b.Name, Type: "internal"}}
	local.iface.UUID, local.port.UUID = fmt.Sprintf("localiface%d", n), fmt.Sprintf("localport%d", n)
	local.port.Interfaces = []string{local.iface.UUID}
	row.Ports = []string{local.port.UUID}
	t.bridges[b.Name] = row.UUID
	api := t.db
	for _, row := range []model.Model{&local.iface, &local.port, &row} {
		if err := t.put(api.Create(row)); err != nil {
			return err
		}
	}
	r := t.v.root
	return t.put(api.Where(&r).Mutate(&r, model.Mutation{Field: &r.Bridges, Mutator: ovsdb.MutateOperationInsert, Value: []string{row.UUID}}))
}

func (t *transaction) addPort(n int, to string, p *newPort) error {
	row, face := p.port, p.iface
	face.UUID, row.UUID = fmt.Sprintf("iface%d", n), fmt.Sprintf("port%d", n)
	row.Interfaces = []string{face.UUID}
	api := t.db
	for _, row := range []model.Model{&face, &row} {
		if err := t.put(api.Create(row)); err != nil {
			return err
		}
	}
	b, ok := t.v.bridges[to]
	if ok {
		return t.put(api.Where(&b).Mutate(&b, model.Mutation{Field: &b.Ports, Mutator: ovsdb.MutateOperationInsert, Value: []string{row.UUID}}))
	}
	// The bridge is made in this transaction.
	for i := range t.ops {
		if t.ops[i].Op == ovsdb.OperationInsert && t.ops[i].UUIDName == t.bridges[to] && t.bridges[to] != "" {
			set, err := ovsdb.NewOvsSet([]ovsdb.UUID{{GoUUID: row.UUID}})
			if err != nil {
				return err
			}
			old, _ := t.ops[i].Row["ports"].(ovsdb.OvsSet)
			set.GoSet = append(old.GoSet, set.GoSet...)
			t.ops[i].Row["ports"] = set
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrNoBridge, to)
}
