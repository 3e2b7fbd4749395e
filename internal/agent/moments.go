package agent

import (
	"time"

	"neutrino/internal/model"
)

// noteRecorded notes the first time in a pass at which the disk held what is asked for.
func (p *pass) noteRecorded() {
	if p.recorded == 0 {
		p.recorded = model.MomentOf(time.Now())
	}
}

// moments says when the port came how far. What was noted for the same attachment stands,
// so that a report which says nothing new stays equal to the one before it and is not sent
// again; only a port that was lost and is as asked again has new times. An attachment that
// came out of the state file, not over the stream, has no time of arrival.
func (p *pass) moments(r, old model.PortReport) model.Moments {
	arrived := p.desired.arrived[r.PortID]
	m := model.Moments{Received: arrived}
	if old.PortID != "" && old.Revision == r.Revision && old.Moments.Received == arrived {
		m = old.Moments
	}
	if _, refused := p.desired.refused[r.PortID]; refused {
		return m
	}
	if arrived != 0 && m.Recorded == 0 {
		m.Recorded = p.recorded
	}
	won := r.Up && !old.Up
	if at := p.programmed[r.PortID]; at != 0 && (won || m.Programmed == 0) {
		m.Programmed = at
	}
	if r.Up && (won || m.ReadBack == 0) {
		m.ReadBack = p.looked
	}
	return m
}
