package tune

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is what a machine is tuned for.
type Profile string

// The profiles.
const (
	Throughput Profile = "throughput"
	Latency    Profile = "latency"
	Forwarding Profile = "forwarding"
	Balanced   Profile = "balanced"
)

// affinityOnly places interrupts and nothing else.
const affinityOnly Profile = "affinity"

// Profiles lists all of them with what they are for.
var Profiles = []struct {
	Name Profile
	For  string
}{
	{Balanced, "guests and services side by side: queues and IRQs in their places, nothing that costs power"},
	{Throughput, "bulk transfer: large rings and socket buffers, full clock"},
	{Latency, "short answers: no interrupt moderation, no deep sleep, busy polling"},
	{Forwarding, "routers and bridges: large rings, no LRO, no pause frames, forwarding on"},
}

// ParseProfile reads a profile's name.
func ParseProfile(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles {
		if string(p.Name) == name {
			return p.Name, nil
		}
		names = append(names, string(p.Name))
	}
	slices.Sort(names)
	return "", fmt.Errorf("%q is no profile: %s", name, strings.Join(names, ", "))
}

// values of a rule, one per profile; "" = the profile leaves it alone.
type values map[Profile]string

// all is the same value in each profile.
func all(v string) values {
	return values{Throughput: v, Latency: v, Forwarding: v, Balanced: v}
}
