package fabric

import (
	"slices"

	"neutrino/internal/model"
)

// maxInstanceData is how many bytes of instances' data one host is told of its networks, and
// as many of its routers: a snapshot has to stay below what an agent reads at once.
const maxInstanceData = 16 << 20

// room is what is left of maxInstanceData in one derivation.
type room struct{ bytes int }

// trim takes what does not fit from the instances' user data. The hosts given are not
// changed; cut is how many instances go without.
func (r *room) trim(hosts []model.DHCPHost) (out []model.DHCPHost, cut int) {
	out = hosts
	for i := range hosts {
		d := hosts[i].Instance
		if d == nil {
			continue
		}
		n := len(d.HostName) + len(d.UserData)
		for _, k := range d.PublicKeys {
			n += len(k)
		}
		if n <= r.bytes {
			r.bytes -= n
			continue
		}
		if cut == 0 {
			out = slices.Clone(hosts)
		}
		cut++
		out[i].Instance = nil
	}
	return out, cut
}

// note logs when the number of instances that go without their data has changed.
func (s *session) note(what string, had *int, cut int) {
	if cut != *had && cut > 0 {
		s.log.Error("instances go without keys and user data: a host is told of so much only", "of", what, "instances", cut, "bytes", maxInstanceData)
	}
	*had = cut
}
