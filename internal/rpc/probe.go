package rpc

import (
	"slices"
	"time"

	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/trunk"
)

// Bounds of probe messages.
const (
	maxHeard    = trunk.MaxStreams * trunk.MaxUplinks
	maxVLANText = 16 << 10 // every second VLAN of all takes less than 12 KiB
	probeKey    = 32
)

// EncodeProbe converts a run to the wire; elapsed is the time since it began.
func EncodeProbe(r *trunk.Run, elapsed time.Duration) *fabricv1.Probe {
	out := &fabricv1.Probe{
		RunId: r.ID[:], Key: r.Key, PhysicalNetwork: r.PhysicalNetwork, Vlans: r.VLANs.String(), Sizes: uints(r.Sizes),
		Rounds: uint32(r.Rounds), Rate: uint32(r.Rate), DurationMs: uint32(r.Duration.Milliseconds()), ElapsedMs: uint32(max(elapsed, 0).Milliseconds()),
	}
	for _, h := range r.Hosts {
		out.Hosts = append(out.Hosts, &fabricv1.ProbeHost{Host: h.Host, Uplinks: uint32(h.Uplinks), SendAfterMs: uint32(h.SendAfter.Milliseconds())})
	}
	return out
}

// CancelProbe tells a host to stop.
func CancelProbe(id trunk.ID) *fabricv1.Probe { return &fabricv1.Probe{RunId: id[:], Cancel: true} }

// DecodeProbe converts a run from the wire and validates every field: an agent sends no
// faster and no longer than the run's own limits, whoever asks. cancel: of the run, only
// the id is set.
func DecodeProbe(in *fabricv1.Probe) (r *trunk.Run, elapsed time.Duration, cancel bool, err error) {
	var c checks
	r = &trunk.Run{}
	c.runID("probe.run_id", in.GetRunId(), &r.ID)
	if in.GetCancel() {
		return r, 0, true, c.err
	}
	if len(in.GetKey()) != probeKey {
		c.fail("probe.key", "%d bytes, %d are needed", len(in.GetKey()), probeKey)
	}
	if c.text("probe.physical_network", in.GetPhysicalNetwork(), 255); in.GetPhysicalNetwork() == "" {
		c.fail("probe.physical_network", "missing")
	}
	r.VLANs = c.vlans("probe.vlans", in.GetVlans())
	c.count("probe.sizes", len(in.GetSizes()), trunk.MaxSizes)
	c.count("probe.hosts", len(in.GetHosts()), trunk.MaxHosts)
	if c.failed() {
		return nil, 0, false, c.err
	}
	r.Key, r.PhysicalNetwork, r.Sizes = in.GetKey(), in.GetPhysicalNetwork(), ints(in.GetSizes())
	if !slices.IsSorted(r.Sizes) {
		c.fail("probe.sizes", "not in ascending order")
	}
	r.Rounds, r.Rate = int(in.GetRounds()), int(in.GetRate())
	for _, h := range in.GetHosts() {
		if herr := CheckHost(h.GetHost()); herr != nil {
			c.fail("probe.hosts.host", "%v", herr)
		}
		r.Hosts = append(r.Hosts, trunk.Host{Host: h.GetHost(), Uplinks: int(h.GetUplinks())})
	}
	if c.failed() {
		return nil, 0, false, c.err
	}
	if perr := r.Plan(trunk.MaxDuration); perr != nil {
		return nil, 0, false, invalid("probe", "%v", perr)
	}
	for i, h := range in.GetHosts() {
		r.Hosts[i].SendAfter = time.Duration(h.GetSendAfterMs()) * time.Millisecond
		if h.GetSendAfterMs() > in.GetDurationMs() {
			c.fail("probe.hosts.send_after_ms", "after the run's end")
		}
	}
	r.Duration, elapsed = time.Duration(in.GetDurationMs())*time.Millisecond, time.Duration(in.GetElapsedMs())*time.Millisecond
	if r.Duration > trunk.MaxDuration || elapsed > r.Duration {
		c.fail("probe.duration_ms", "%d with %d elapsed", in.GetDurationMs(), in.GetElapsedMs())
	}
	return r, elapsed, false, c.err
}

// EncodeProbeResult converts to the wire. Words that are too long are cut.
func EncodeProbeResult(r *trunk.Result) *fabricv1.ProbeResult {
	out := &fabricv1.ProbeResult{RunId: r.Run[:], Error: fitReason(r.Error), Foreign: uint32(r.Foreign)}
	for _, u := range r.Uplinks {
		out.Uplinks = append(out.Uplinks, &fabricv1.ProbeUplink{
			Name: u.Name, Mac: u.MAC, Mtu: uint32(u.MTU), Sent: uint32(u.Sent), Unfit: uints(u.Unfit), Error: fitReason(u.Error),
			VfVlans: u.VFVLANs.String(),
		})
	}
	for _, h := range r.Heard {
		out.Heard = append(out.Heard, &fabricv1.ProbeHeard{
			From: uint32(h.From), Uplink: uint32(h.Uplink), On: uint32(h.On), Size: uint32(h.Size),
			Vlans: h.VLANs.String(), Partial: h.Partial.String(), Twice: h.Twice.String(),
		})
	}
	for _, l := range r.Leaks {
		out.Leaks = append(out.Leaks, &fabricv1.ProbeLeak{
			From: uint32(l.From), Uplink: uint32(l.Uplink), On: uint32(l.On), Sent: uint32(l.Sent), Heard: uint32(l.Heard), Count: uint32(l.Count),
		})
	}
	for _, s := range r.Neighbours {
		out.Neighbours = append(out.Neighbours, &fabricv1.ProbeNeighbour{
			On: uint32(s.On), Chassis: s.Chassis, Port: s.Port, PortDescription: s.PortText, SystemName: s.SystemName,
			NativeVlan: uint32(s.NativeVLAN), Vlans: s.VLANs.String(), MaxFrame: uint32(s.MaxFrame),
		})
	}
	return out
}

// DecodeProbeResult converts from the wire and validates every field; the result is of
// the host that sent it.
func DecodeProbeResult(host string, in *fabricv1.ProbeResult) (*trunk.Result, error) {
	var c checks
	r := &trunk.Result{Host: host, Error: in.GetError(), Foreign: int(in.GetForeign()), Uplinks: []trunk.Uplink{}, Heard: []trunk.Heard{}}
	c.runID("probe_result.run_id", in.GetRunId(), &r.Run)
	c.text("probe_result.error", in.GetError(), maxText)
	c.count("probe_result.uplinks", len(in.GetUplinks()), trunk.MaxUplinks)
	c.count("probe_result.heard", len(in.GetHeard()), maxHeard)
	c.count("probe_result.leaks", len(in.GetLeaks()), trunk.MaxLeaks)
	c.count("probe_result.neighbours", len(in.GetNeighbours()), trunk.MaxSeen)
	if c.failed() {
		return nil, c.err
	}
	on := func(field string, n uint32) int {
		if n >= uint32(len(in.GetUplinks())) {
			c.fail(field, "there is no uplink %d", n)
		}
		return int(n)
	}
	for _, u := range in.GetUplinks() {
		if err := CheckNetdev(u.GetName()); err != nil {
			c.fail("probe_result.uplinks.name", "%v", err)
		}
		if u.GetMac() != "" {
			c.mac("probe_result.uplinks.mac", u.GetMac())
		}
		c.text("probe_result.uplinks.error", u.GetError(), maxText)
		c.count("probe_result.uplinks.unfit", len(u.GetUnfit()), trunk.MaxSizes)
		r.Uplinks = append(r.Uplinks, trunk.Uplink{
			Name: u.GetName(), MAC: u.GetMac(), MTU: int(u.GetMtu()), Sent: int(u.GetSent()), Unfit: ints(u.GetUnfit()), Error: u.GetError(),
			VFVLANs: c.vlans("probe_result.uplinks.vf_vlans", u.GetVfVlans()),
		})
	}
	for _, h := range in.GetHeard() {
		c.place("probe_result.heard", h.GetFrom(), h.GetUplink())
		if h.GetSize() < trunk.MinSize || h.GetSize() > trunk.MaxSize {
			c.fail("probe_result.heard.size", "%d", h.GetSize())
		}
		r.Heard = append(r.Heard, trunk.Heard{
			From: int(h.GetFrom()), Uplink: int(h.GetUplink()), On: on("probe_result.heard.on", h.GetOn()), Size: int(h.GetSize()),
			VLANs: c.vlans("probe_result.heard.vlans", h.GetVlans()), Partial: c.vlans("probe_result.heard.partial", h.GetPartial()),
			Twice: c.vlans("probe_result.heard.twice", h.GetTwice()),
		})
	}
	for _, l := range in.GetLeaks() {
		c.place("probe_result.leaks", l.GetFrom(), l.GetUplink())
		if l.GetSent() < 1 || l.GetSent() > trunk.MaxVLAN || l.GetHeard() > trunk.MaxVLAN+1 {
			c.fail("probe_result.leaks", "VLAN %d heard in %d", l.GetSent(), l.GetHeard())
		}
		r.Leaks = append(r.Leaks, trunk.Leak{
			From: int(l.GetFrom()), Uplink: int(l.GetUplink()), On: on("probe_result.leaks.on", l.GetOn()),
			Sent: int(l.GetSent()), Heard: int(l.GetHeard()), Count: int(l.GetCount()),
		})
	}
	for _, n := range in.GetNeighbours() {
		for _, s := range []string{n.GetChassis(), n.GetPort(), n.GetPortDescription(), n.GetSystemName()} {
			c.text("probe_result.neighbours", s, 1024)
		}
		if n.GetNativeVlan() > trunk.MaxVLAN || n.GetMaxFrame() > 65535 {
			c.fail("probe_result.neighbours", "native VLAN %d, frames of %d bytes", n.GetNativeVlan(), n.GetMaxFrame())
		}
		r.Neighbours = append(r.Neighbours, trunk.Seen{On: on("probe_result.neighbours.on", n.GetOn()), Neighbour: trunk.Neighbour{
			Chassis: n.GetChassis(), Port: n.GetPort(), PortText: n.GetPortDescription(), SystemName: n.GetSystemName(),
			NativeVLAN: int(n.GetNativeVlan()), VLANs: c.vlans("probe_result.neighbours.vlans", n.GetVlans()), MaxFrame: int(n.GetMaxFrame()),
		}})
	}
	if c.failed() {
		return nil, c.err
	}
	return r, nil
}

func (c *checks) runID(field string, b []byte, to *trunk.ID) {
	if copy(to[:], b); len(b) != len(to) {
		c.fail(field, "%d bytes, %d are needed", len(b), len(to))
	}
}

func (c *checks) vlans(field, s string) trunk.VLANs {
	if len(s) > maxVLANText {
		c.fail(field, "%d bytes, at most %d are allowed", len(s), maxVLANText)
		return trunk.VLANs{}
	}
	v, err := trunk.ParseVLANs(s)
	if err != nil {
		c.fail(field, "%v", err)
	}
	return v
}

func (c *checks) place(field string, host, uplink uint32) {
	if host >= trunk.MaxHosts || uplink >= trunk.MaxUplinks {
		c.fail(field, "there is no uplink %d of host %d", uplink, host)
	}
}

func uints(in []int) (out []uint32) {
	for _, v := range in {
		out = append(out, uint32(v))
	}
	return out
}

func ints(in []uint32) (out []int) {
	for _, v := range in {
		out = append(out, int(v))
	}
	return out
}
