package fabric

import (
	"context"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
)

// latePlane is one whose changed rows are looked at before a commit returns.
type latePlane struct {
	*fakePlane
	committed func()
}

func (p *latePlane) ReportPorts(ctx context.Context, host string, r []model.PortReport) error {
	err := p.fakePlane.ReportPorts(ctx, host, r)
	p.committed()
	return err
}

// A report is in the port's row before its commit returns. Who looks at the row then must
// not hold the host's word before that one against it: the port would stay DOWN for ever.
func TestOlderWordIsNotHeldAgainstANewerCommit(t *testing.T) {
	p := &latePlane{fakePlane: newPlane(), committed: func() {}}
	f, err := newFabric(p, Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	id := p.bind("h1", 1, 10)
	s := newSession(t.Context(), f, peer{}, nil, rpc.Hello{Host: "h1", Instance: "i1"})
	look := func() {
		list, _ := p.Attachments("h1")
		s.settle(list, nil)
	}
	look()
	list, _ := p.Attachments("h1")
	report := model.PortReport{PortID: id, Revision: list[0].Revision, Reason: "VF is away"}
	say := func() {
		if failed := s.commitBatch([]model.PortReport{report}); len(failed) > 0 {
			t.Fatalf("not committed: %+v", failed)
		}
	}
	say()
	look()
	report.Up, report.Reason = true, ""
	p.committed = look
	say()
	again, _, _ := s.inbox.take()
	s.commitBatch(again)
	if port, _ := p.Port(id); port.Status != model.StatusActive {
		t.Errorf("the port is %s (%s) although the host said last that it is up; put forward again: %+v", port.Status, port.StatusReason, again)
	}
}
