package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/trunk"
)

// Options of a Prober.
type Options struct {
	Host string // as Run.Hosts has it
	// Uplinks are the netdevs of a physical network.
	Uplinks func(physicalNetwork string) ([]string, error)
	// VFVLANs returns the VLANs that VFs of an uplink are programmed for; nil = there are none.
	VFVLANs func(ctx context.Context, uplink string) (trunk.VLANs, error)
	// Enter runs f in the namespace of the uplinks; nil = where the process is.
	Enter func(f func() error) error
	Log   *slog.Logger // default: discards
}

// Prober takes part in runs. It may be used from any goroutine.
type Prober struct{ o Options }

// New returns a Prober.
func New(o Options) *Prober {
	if o.Enter == nil {
		o.Enter = func(f func() error) error { return f() }
	}
	if o.VFVLANs == nil {
		o.VFVLANs = func(context.Context, string) (trunk.VLANs, error) { return trunk.VLANs{}, nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Prober{o}
}

// behind is how far a sender may fall behind and still make up for it: more frames than
// the rate allows are never sent in a longer time.
const behind = 20 * time.Millisecond

// Probe takes part in a run that began elapsed ago: it listens until the run ends, or
// ctx does, and sends in its turn. It always returns a result, with what went wrong in
// it. Nothing of it is left on the host when it returns.
func (p *Prober) Probe(ctx context.Context, run *trunk.Run, elapsed time.Duration) *trunk.Result {
	start := time.Now().Add(-elapsed)
	out := &trunk.Result{Run: run.ID, Host: p.o.Host, Uplinks: []trunk.Uplink{}, Heard: []trunk.Heard{}}
	place := run.Place(p.o.Host)
	if place < 0 {
		out.Error = "the run does not name this host"
		return out
	}
	names, err := p.o.Uplinks(run.PhysicalNetwork)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	if most := run.Hosts[place].Uplinks; len(names) > most {
		out.Error = fmt.Sprintf("the host has %d uplinks, the run knows of %d: %v take no part", len(names), most, names[most:])
		names = names[:most]
	}
	e := &effort{run: run, place: place, tally: trunk.NewTally(run), out: out, sockets: make([]*socket, len(names))}
	e.open(p.o.Enter, names)
	defer e.close()
	p.vfVLANs(ctx, out)
	e.listen()
	p.o.Log.Info("probing the trunk", "run", fmt.Sprintf("%x", run.ID), "uplinks", names, "for", run.Duration-elapsed)
	e.send(ctx, start)
	wait(ctx, start.Add(run.Duration))
	e.end()
	p.vfVLANs(ctx, out) // and those of VFs that came into use meanwhile
	if err = context.Cause(ctx); err != nil && out.Error == "" {
		out.Error = "ended early: " + err.Error()
	}
	return out
}

// vfVLANs adds the VLANs of the uplinks' VFs. What cannot be read leaves a VLAN to be called
// lost, and is only logged.
func (p *Prober) vfVLANs(ctx context.Context, out *trunk.Result) {
	for i := range out.Uplinks {
		u := &out.Uplinks[i]
		v, err := p.o.VFVLANs(ctx, u.Name)
		if err != nil {
			p.o.Log.Warn("cannot read which VLANs the VFs of an uplink use", "uplink", u.Name, "error", err)
		}
		u.VFVLANs = u.VFVLANs.Or(v)
	}
}

// effort is one run on this host.
type effort struct {
	run     *trunk.Run
	place   int
	out     *trunk.Result
	sockets []*socket // by place in out.Uplinks; nil = could not be opened
	readers sync.WaitGroup

	mu    sync.Mutex // of what follows, and of the uplinks' errors
	tally *trunk.Tally
}

func (e *effort) open(enter func(func() error) error, names []string) {
	for i, name := range names {
		u := trunk.Uplink{Name: name}
		err := enter(func() (err error) {
			e.sockets[i], err = openSocket(name)
			return err
		})
		if s := e.sockets[i]; s != nil {
			u.MAC, u.MTU = net.HardwareAddr(s.mac[:]).String(), s.mtu
		}
		if err != nil {
			u.Error = err.Error()
		}
		e.out.Uplinks = append(e.out.Uplinks, u)
	}
}

func (e *effort) close() {
	for _, s := range e.sockets {
		if s != nil {
			s.close()
		}
	}
}

// listen starts a reader per uplink.
func (e *effort) listen() {
	for i, s := range e.sockets {
		if s == nil {
			continue
		}
		e.readers.Go(func() {
			err := s.read(func(etherType, vlan int, b []byte) {
				e.mu.Lock()
				defer e.mu.Unlock()
				switch etherType {
				case trunk.EtherType:
					e.tally.Frame(i, vlan, b)
				case trunk.EtherTypeLLDP:
					e.tally.LLDP(i, b)
				}
			})
			if err != nil {
				e.fail(i, err)
			}
		})
	}
}

// fail notes the first thing that went wrong on an uplink.
func (e *effort) fail(i int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if u := &e.out.Uplinks[i]; u.Error == "" {
		u.Error = err.Error()
	}
}

// end waits for the readers and writes down what was heard.
func (e *effort) end() {
	for _, s := range e.sockets {
		if s != nil {
			s.shut()
		}
	}
	e.readers.Wait()
	for i, s := range e.sockets {
		if s == nil {
			continue
		}
		if n := s.dropped(); n > 0 {
			e.fail(i, fmt.Errorf("this host had no room for %d of the frames that came; what it misses may be its own doing", n))
		}
	}
	e.tally.Fill(e.out)
}

// turnEnd is when the next host's turn begins, less a part of what lies between.
func (e *effort) turnEnd(start time.Time) time.Time {
	if e.place+1 < len(e.run.Hosts) {
		return start.Add(e.run.Hosts[e.place+1].SendAfter - trunk.Gap/4)
	}
	return start.Add(e.run.Duration - e.run.Listen - trunk.Gap)
}

// send waits for the host's turn and sends on one uplink after the other.
func (e *effort) send(ctx context.Context, start time.Time) {
	if !wait(ctx, start.Add(e.run.Hosts[e.place].SendAfter)) {
		return
	}
	end := e.turnEnd(start)
	for i, s := range e.sockets {
		if s == nil {
			continue
		}
		_ = s.file.SetWriteDeadline(end)
		if err := e.sendOn(ctx, i, s, end); err != nil {
			e.fail(i, err)
		}
	}
}

func (e *effort) sendOn(ctx context.Context, i int, s *socket, end time.Time) error {
	u := &e.out.Uplinks[i]
	for _, size := range e.run.Sizes {
		if size > s.mtu {
			u.Unfit = append(u.Unfit, size)
		}
	}
	frame, sent, due := make([]byte, 0, trunk.MaxSize+18), 0, time.Now()
	var err error
	e.run.Each(e.place, i, func(f trunk.Frame) bool {
		if f.Size > s.mtu {
			return true
		}
		if now := time.Now(); now.Sub(due) > behind {
			due = now.Add(-behind)
		}
		if !wait(ctx, due) {
			err = context.Cause(ctx)
			return false
		}
		due = due.Add(e.run.Spacing(f.Size))
		if time.Now().After(end) {
			err = errors.New("the host was too slow for its turn")
			return false
		}
		frame = f.Append(frame[:0], s.mac, e.run.Key)
		for err = s.send(frame); errors.Is(err, unix.ENOBUFS); err = s.send(frame) {
			if !wait(ctx, time.Now().Add(time.Millisecond)) || time.Now().After(end) {
				break
			}
		}
		if err != nil {
			return false
		}
		sent++
		return true
	})
	u.Sent = sent
	if err != nil {
		return fmt.Errorf("send: %d of %d frames went out: %w", sent, e.run.Frames(), err)
	}
	return nil
}

// wait returns at the time, or with false when ctx ends before.
func wait(ctx context.Context, until time.Time) bool {
	d := time.Until(until)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
