package ovs

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

var serial atomic.Int32

// BenchmarkAccessPort is the time from a port's being wanted to Open vSwitch's having it in
// place, with its VLAN: the database has it and the switch has given it its OpenFlow port. It
// starts with 100 ports in the bridge. Beside it, see BenchmarkBareTransaction.
func BenchmarkAccessPort(b *testing.B) {
	r, ports := benchRack(b)
	b.ResetTimer()
	for b.Loop() {
		p := benchPort()
		if _, err := r.Set(b.Context(), append(ports, p)); err != nil {
			b.Fatal(err)
		}
		if err := r.Await(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r.settle(ports...)
		b.StartTimer()
	}
}

// BenchmarkBareTransaction does the same with nothing of the package's: one transaction with the
// rows, and the switch's answer in the monitor.
func BenchmarkBareTransaction(b *testing.B) {
	r, ports := benchRack(b)
	b.ResetTimer()
	for b.Loop() {
		p := benchPort()
		bare(b, r.Switch, p)
		b.StopTimer()
		r.settle(ports...)
		b.StartTimer()
	}
}

func benchRack(b *testing.B) (*rack, []Port) {
	r := start(b)
	var ports []Port
	for n := range 100 {
		ports = append(ports, port(n+100, 1+n))
	}
	r.settle(ports...)
	return r, ports
}

func benchPort() Port { return port(int(serial.Add(1))+1000, 101) }

func bare(b *testing.B, s *Switch, p Port) {
	b.Helper()
	ctx := context.Background()
	db, err := s.client()
	if err != nil {
		b.Fatal(err)
	}
	row := madePort(p)
	row.iface.UUID, row.port.UUID = "newiface", "newport"
	row.port.Interfaces = []string{row.iface.UUID}
	var ops []ovsdb.Operation
	for _, m := range []model.Model{&row.iface, &row.port} {
		o, cerr := db.Create(m)
		if cerr != nil {
			b.Fatal(cerr)
		}
		ops = append(ops, o...)
	}
	to := &bridge{}
	o, err := db.WhereCache(func(x *bridge) bool { return x.Name == br }).Mutate(to, model.Mutation{Field: &to.Ports, Mutator: ovsdb.MutateOperationInsert, Value: []string{row.port.UUID}})
	if err != nil {
		b.Fatal(err)
	}
	reply, err := db.Transact(ctx, append(ops, o...)...)
	if err == nil {
		_, err = ovsdb.CheckOperationResults(reply, append(ops, o...))
	}
	if err != nil {
		b.Fatal(err)
	}
	id := reply[0].UUID.GoUUID
	for {
		next := s.next()
		face := &iface{UUID: id}
		if err = db.Get(ctx, face); err == nil && face.OFPort != nil && *face.OFPort > 0 {
			return
		}
		<-next
	}
}
