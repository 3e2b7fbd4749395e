package agent

import (
	"log/slog"
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// A port may leave and come back before the loop has looked once. For the loop nothing
// has changed then; the controller has forgotten what it was told, and has to hear it again.
func TestPortThatCameBackIsReportedAgain(t *testing.T) {
	att := &model.Attachment{
		PortID: "p1", NetworkID: "n1", Revision: 7, VnicType: model.VnicDirect, PhysicalNetwork: "default", VLAN: 5,
		MAC: "fa:16:3e:00:00:01", MTU: 1500, LinkState: model.LinkEnable,
	}
	stays := *att
	stays.PortID, stays.MAC = "p2", "fa:16:3e:00:00:02"
	both := []*fabricv1.Attachment{rpc.EncodeAttachment(att), rpc.EncodeAttachment(&stays)}
	reports := map[string]model.PortReport{
		"p1": {PortID: "p1", Revision: 7, Up: true}, "p2": {PortID: "p2", Revision: 7, Up: true},
	}
	l := &link{table: newTable(saved{}), outbox: newOutbox(), probes: newProbeDesk("h1", nil, slog.New(slog.DiscardHandler)), log: slog.New(slog.DiscardHandler)}
	hear := func(m *fabricv1.FromController) {
		t.Helper()
		if err := l.hear(m); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (ids []string) {
		l.outbox.replace(reports) // what a pass over the same VFs says
		seq, out, _ := l.outbox.take()
		l.outbox.ack(seq)
		for _, r := range out {
			ids = append(ids, r.PortID)
		}
		return ids
	}
	snapshot := func(revision uint64, atts ...*fabricv1.Attachment) *fabricv1.FromController {
		return &fabricv1.FromController{Message: &fabricv1.FromController_Snapshot{Snapshot: &fabricv1.Snapshot{Epoch: "e", Revision: revision, Attachments: atts}}}
	}
	delta := func(d *fabricv1.Delta) *fabricv1.FromController {
		return &fabricv1.FromController{Message: &fabricv1.FromController_Delta{Delta: d}}
	}
	hear(snapshot(1, both...))
	if ids := told(); len(ids) != 2 {
		t.Fatalf("told of %v, want both", ids)
	}
	if ids := told(); len(ids) != 0 {
		t.Fatalf("told again of %v with nothing new", ids)
	}
	hear(delta(&fabricv1.Delta{BaseRevision: 1, Revision: 2, RemovedPorts: []string{"p1"}}))
	hear(delta(&fabricv1.Delta{BaseRevision: 2, Revision: 3, Attachments: both[:1]}))
	if ids := told(); len(ids) != 1 || ids[0] != "p1" {
		t.Errorf("after deltas: told of %v, want p1", ids)
	}
	hear(snapshot(4, both[1]))
	hear(delta(&fabricv1.Delta{BaseRevision: 4, Revision: 5, Attachments: both[:1]}))
	if ids := told(); len(ids) != 1 || ids[0] != "p1" {
		t.Errorf("after a snapshot without it: told of %v, want p1", ids)
	}
}

func TestReportIntervalIsBoundByTheLease(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		asked, offered, lease time.Duration
		want                  time.Duration
		cut                   bool
	}{
		{"the controller's", 0, 15 * time.Second, 75 * time.Second, 15 * time.Second, false},
		{"Neutron's default", 30 * time.Second, 15 * time.Second, 75 * time.Second, 30 * time.Second, false},
		{"more often", time.Second, 15 * time.Second, 75 * time.Second, time.Second, false},
		{"half of the lease", 5 * time.Second, 2 * time.Second, 10 * time.Second, 5 * time.Second, false},
		{"longer than half of the lease", 30 * time.Second, 2 * time.Second, 10 * time.Second, 5 * time.Second, true},
		{"much too often", time.Microsecond, 2 * time.Second, 10 * time.Second, 10 * time.Millisecond, false},
		{"a controller that says no lease", 30 * time.Second, 2 * time.Second, 0, 30 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, cut := beatInterval(tt.asked, tt.offered, tt.lease)
			if got != tt.want || cut != tt.cut {
				t.Errorf("beatInterval(%s, %s, %s) = %s, %v, want %s, %v", tt.asked, tt.offered, tt.lease, got, cut, tt.want, tt.cut)
			}
		})
	}
}
