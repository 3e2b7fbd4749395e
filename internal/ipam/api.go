package ipam

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"net/netip"

	"neutrino/internal/model"
)

var errNotYet = errors.New("ipam: not built yet")

// ErrMACsExhausted: no MAC is left under base_mac.
var ErrMACsExhausted = errors.New("no MAC address left under base_mac")

// CompleteSubnet validates and completes a subnet that is to be created.
func CompleteSubnet(s *model.Subnet, given map[string]bool, siblings []*model.Subnet) error {
	return errNotYet
}

// UpdateSubnet validates and completes a changed subnet.
func UpdateSubnet(old, changed *model.Subnet, given map[string]bool, siblings []*model.Subnet) error {
	return errNotYet
}

// CheckLimits checks the number of name servers and host routes.
func CheckLimits(s *model.Subnet, maxNameservers, maxHostRoutes int) error { return errNotYet }

// ChooseAddresses chooses a port's addresses.
func ChooseAddresses(req Request, subnets []*model.Subnet, taken Taken, rnd *rand.Rand) ([]model.FixedIP, error) {
	return nil, errNotYet
}

// FollowMAC returns current with its EUI-64 addresses recomputed for mac.
func FollowMAC(current []model.FixedIP, mac, deviceOwner string, subnets []*model.Subnet, taken Taken) ([]model.FixedIP, error) {
	return nil, errNotYet
}

// EUI64 returns the address that a host with the MAC forms on a /64.
func EUI64(prefix netip.Prefix, mac string) (netip.Addr, error) { return netip.Addr{}, errNotYet }

// ParseMAC validates a MAC.
func ParseMAC(s string) ([6]byte, error) { return [6]byte{}, errNotYet }

// ValidateBaseMAC checks the base_mac option.
func ValidateBaseMAC(base string) error { return errNotYet }

// GenerateMAC returns a free MAC under base.
func GenerateMAC(base string, taken func(mac string) bool, rnd *rand.Rand) (string, error) {
	return "", errNotYet
}

// ParseCIDR reads "address/length"; host bits are masked.
func ParseCIDR(s string) (netip.Prefix, error) { return netip.Prefix{}, errNotYet }

// Sizes returns how many addresses the subnet's pools hold.
func Sizes(s *model.Subnet) (total *big.Int) { return new(big.Int) }

// CompleteSubnetPool validates and completes a subnet pool that is to be created.
func CompleteSubnetPool(p *model.SubnetPool, given map[string]bool) error { return errNotYet }

// UpdateSubnetPool validates and completes a changed subnet pool.
func UpdateSubnetPool(old, changed *model.SubnetPool, given map[string]bool) error { return errNotYet }

// PoolPrefixLen returns the prefix length of a subnet cut from the pool (asked 0 and
// not given = the pool's default).
func PoolPrefixLen(pool *model.SubnetPool, asked int, given bool) (int, error) { return 0, errNotYet }

// CutPrefix returns the lowest free aligned prefix of a pool.
func CutPrefix(pool *model.SubnetPool, prefixLen int, used []netip.Prefix) (netip.Prefix, error) {
	return netip.Prefix{}, errNotYet
}

// ClaimPrefix checks that a pool can give the very prefix.
func ClaimPrefix(pool *model.SubnetPool, want netip.Prefix, used []netip.Prefix) error {
	return errNotYet
}

// CheckPoolQuota checks default_quota for a project that has "have" from the pool.
func CheckPoolQuota(pool *model.SubnetPool, have []netip.Prefix, prefixLen int) error {
	return errNotYet
}
