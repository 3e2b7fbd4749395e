package neutron

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Kinds of claims; doc.go says what their keys are.
const (
	claimMAC         = "mac"
	claimIP          = "ip"
	claimGroup       = "sg"
	claimDefault     = "default-sg"
	claimAgent       = "agent"
	claimDefaultPool = "default-pool"
	claimDefaultNet  = "default-net"
	claimWayOut      = "external"     // <external network>/<router or floating IP>
	claimFixed       = "floating"     // <port>/<fixed IP>/<external network>: its floating IP
	claimVia         = "floating-via" // <router>/<subnet>/<floating IP>
)

const defaultGroupName = "default"

// attempt is one run of a transaction's function: the transaction, the view it reads, and
// what it has claimed so far, so that a bulk request does not give one thing twice.
type attempt struct {
	*store.Tx
	db      *store.DB
	snap    store.Snapshot
	rnd     *rand.Rand
	claims  map[claimKey]string // "" = released
	ips     bool                // some of claims are addresses
	key     []byte              // scratch
	groups  map[string]string   // project -> its default group made in this run
	subnets []*model.Subnet     // made in this run
	ports   []*model.Port       // of routers, made in this run
}

type claimKey struct{ kind, key string }

func (s *Service) begin(tx *store.Tx) *attempt {
	return &attempt{
		Tx:   tx,
		db:   s.db,
		snap: tx.Snapshot(),
		// Not a secret: addresses and VLANs only have to differ.
		rnd:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		claims: make(map[claimKey]string, 4),
	}
}

// held looks a claim up without comparing it at commit, for choosing something free.
func (a *attempt) held(kind, key string) bool {
	if owner, ok := a.claims[claimKey{kind, key}]; ok {
		return owner != ""
	}
	_, ok := a.db.ClaimOwner(a.snap, kind, key)
	return ok
}

// heldAddress is held for an address of a subnet, asked for many times per port.
func (a *attempt) heldAddress(subnet string, addr netip.Addr) bool {
	const head = claimIP + "/"
	a.key = append(append(append(a.key[:0], head...), subnet...), '/')
	a.key = addr.AppendTo(a.key)
	if a.ips {
		if owner, ok := a.claims[claimKey{claimIP, string(a.key[len(head):])}]; ok {
			return owner != ""
		}
	}
	return a.db.ClaimHeld(a.snap, a.key)
}

// take makes a claim, or says that somebody holds it.
func (a *attempt) take(kind, key, owner string) bool {
	k := claimKey{kind, key}
	if have, ok := a.claims[k]; ok && have != "" {
		return have == owner
	} else if !ok {
		if _, taken := a.Claimed(kind, key); taken {
			return false
		}
	}
	a.Claim(kind, key, owner)
	a.claims[k] = owner
	a.ips = a.ips || kind == claimIP
	return true
}

// drop gives a claim back.
func (a *attempt) drop(kind, key, owner string) {
	a.Release(kind, key, owner)
	a.claims[claimKey{kind, key}] = ""
	a.ips = a.ips || kind == claimIP
}

func macKey(network, mac string) string { return network + "/" + model.CanonicalMAC(mac) }

func ipKey(f model.FixedIP) string { return f.SubnetID + "/" + f.IP.String() }

func groupKey(group, port string) string { return group + "/" + port }

func isNetworkOwned(owner string) bool {
	return strings.HasPrefix(owner, model.OwnerNetworkPrefix)
}

// autoDeleted are the owners whose ports go with their network.
func autoDeleted(owner string) bool {
	switch owner {
	case model.OwnerDHCP, "network:distributed", "network:floatingip_agent_gateway":
		return true
	}
	return false
}

func appendNew(keys []string, key string) []string {
	if key == "" || slices.Contains(keys, key) {
		return keys
	}
	return append(keys, key)
}

// seesNetwork reports whether the actor may name the network in a request.
func seesNetwork(who model.Actor, n *model.Network) bool {
	return who.ProjectID == n.ProjectID || n.Shared || n.External || who.HasRole("service")
}
