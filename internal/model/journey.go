package model

import "time"

// Moment is a time in microseconds since 1970-01-01 UTC; 0 = not known. It is a number,
// so that what holds moments can be compared with == and stays small in a row.
type Moment int64

// LastMoment is the end of the year 9999, the last that RFC 3339 can write.
const LastMoment Moment = 253402300799999999

// MomentOf returns t, cut to microseconds.
func MomentOf(t time.Time) Moment { return Moment(t.UnixMicro()) }

// Time returns the moment as a time in UTC.
func (m Moment) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// Moments are when one attachment came how far on its way to the VF and back. They do
// not change once they are set for a revision of the attachment, but for ReadBack and
// Programmed when the VF was lost and has been won back.
//
// Told and Heard are by the controller's clock and never leave it; the others are the
// host's.
type Moments struct {
	Told       Moment `json:"told,omitempty"`       // sent to the host
	Received   Moment `json:"received,omitempty"`   // the agent had it
	Recorded   Moment `json:"recorded,omitempty"`   // on the host's disk
	Programmed Moment `json:"programmed,omitempty"` // accepted by the switch; 0 also where nothing had to be
	ReadBack   Moment `json:"read_back,omitempty"`  // the switch showed all of it as asked
	Heard      Moment `json:"heard,omitempty"`      // the host's report was with the controller
}

// Over returns m with what it lacks taken from old, an earlier account of the same
// attachment: an agent that was restarted knows only a part. Of Told the first counts;
// what comes later is another controller's repetition.
func (m Moments) Over(old Moments) Moments {
	if old.Told != 0 {
		m.Told = old.Told
	}
	for _, f := range []struct{ to, from *Moment }{
		{&m.Received, &old.Received},
		{&m.Recorded, &old.Recorded},
		{&m.Programmed, &old.Programmed},
		{&m.ReadBack, &old.ReadBack},
		{&m.Heard, &old.Heard},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	return m
}

// Journey notes how a port came from the API to its VF. It is for people who look for
// the step at which a port hangs (see internal/neutron, Trace): nothing is decided by it, and it
// is no part of the port that the API shows or counts revisions of. It begins anew each time
// the port is bound.
type Journey struct {
	Created Moment `json:"created,omitempty"`
	Bind    Moment `json:"bind,omitempty"` // the mechanism drivers gave the answer that Binding holds

	// Of the host's last report that changed something, or was the first of its attachment.
	Attachment int64   `json:"attachment,omitempty"` // its revision; 0 = there was none yet
	Moments    Moments `json:"moments,omitzero"`
	Settled    Moment  `json:"settled,omitempty"` // written to the port
	PF         string  `json:"pf,omitempty"`      // "" = the host has no VF for the port
	VF         int     `json:"vf,omitempty"`
	PCISlot    string  `json:"pci_slot,omitempty"`

	Active Moment `json:"active,omitempty"` // since when the port is ACTIVE; 0 = it is not
}
