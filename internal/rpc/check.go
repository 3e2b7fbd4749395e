package rpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"
)

// ErrInvalid is wrapped by every error of this package: a field holds what no correct
// peer sends. The message names the field.
var ErrInvalid = errors.New("invalid message")

// Limits on what one message may hold. They are far above real use and keep a mad peer
// from filling memory.
const (
	MaxAttachments = 4096
	MaxNetworks    = 4096
	MaxHosts       = 65536 // DHCP hosts of one network
	MaxReports     = 4096
	MaxRouters     = 1024
	MaxRoles       = 8
	maxAllowed     = 1024
	maxRules       = 4096  // of one port's filter
	maxRemotes     = 32768 // prefixes in all of them
	maxSubnets     = 256
	maxInterfaces  = 256  // of one router
	maxFloating    = 4096 // floating IPs of one router
	maxPerHost     = 64   // addresses or options of one DHCP host
	maxText        = 4096
	maxJSON        = 1 << 18
	maxUserData    = 64 << 10 // bytes, of one instance
	maxPublicKeys  = 16
	maxPublicKey   = 8 << 10 // bytes
)

var (
	idPattern   = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$`)
	hostPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,254}$`)
	slotPattern = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, field, fmt.Sprintf(format, args...))
}

// checks collects the first wrong field of a message.
type checks struct{ err error }

func (c *checks) failed() bool { return c.err != nil }

func (c *checks) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = invalid(field, format, args...)
	}
}

func (c *checks) id(field, s string) {
	if !idPattern.MatchString(s) {
		c.fail(field, "%.80q is not an id", s)
	}
}

func (c *checks) optionalID(field, s string) {
	if s != "" {
		c.id(field, s)
	}
}

// text is printable UTF-8 of a bounded length; "" is allowed.
func (c *checks) text(field, s string, limit int) {
	switch {
	case len(s) > limit:
		c.fail(field, "%d bytes, at most %d are allowed", len(s), limit)
	case !utf8.ValidString(s):
		c.fail(field, "not UTF-8")
	case strings.ContainsRune(s, 0):
		c.fail(field, "holds a NUL")
	}
}

// line is text that holds no control characters but tabs: it may end up in a header.
func (c *checks) line(field, s string, limit int) {
	c.text(field, s, limit)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		c.fail(field, "holds a control character")
	}
}

func (c *checks) mac(field, s string) {
	if err := CheckMAC(s); err != nil {
		c.fail(field, "%.40q: %v", s, err)
	}
}

func (c *checks) slot(field, s string) {
	if s != "" && !slotPattern.MatchString(s) {
		c.fail(field, "%.40q is not a PCI address (dddd:bb:ss.f)", s)
	}
}

func (c *checks) mtu(field string, v uint32) {
	if v != 0 && (v < 68 || v > 65535) {
		c.fail(field, "%d is not between 68 and 65535", v)
	}
}

func (c *checks) count(field string, n, limit int) bool {
	if n > limit {
		c.fail(field, "%d entries, at most %d are allowed", n, limit)
		return false
	}
	return true
}

func (c *checks) addr(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.String() != s {
		c.fail(field, "%.60q is not an IP address", s)
		return netip.Addr{}
	}
	return a
}

func (c *checks) optionalAddr(field, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return c.addr(field, s)
}

func (c *checks) prefix(field, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.String() != s {
		c.fail(field, "%.60q is not a prefix", s)
		return netip.Prefix{}
	}
	return p
}

// CheckMAC reports what keeps s from being the address of a port: it has to be
// canonical (lower case, colons), unicast and not zero.
func CheckMAC(s string) error {
	hw, err := net.ParseMAC(s)
	switch {
	case err != nil || len(hw) != 6:
		return errors.New("not a MAC address")
	case hw.String() != s:
		return errors.New("not in canonical form")
	case hw[0]&1 != 0:
		return errors.New("a group address")
	case hw.String() == "00:00:00:00:00:00":
		return errors.New("the zero address")
	}
	return nil
}

// CheckHost reports whether s can be the name of a host.
func CheckHost(s string) error {
	if !hostPattern.MatchString(s) {
		return invalid("host", "%.80q is not a host name (letters, digits, '.', '-', '_')", s)
	}
	return nil
}

// CheckNetdev reports whether s can be the name of a network device.
func CheckNetdev(s string) error {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\r\v\f\x00") || !utf8.ValidString(s) {
		return invalid("netdev", "%.40q is not a device name", s)
	}
	return nil
}

// CheckPCISlot reports whether s is a PCI address in the form dddd:bb:ss.f.
func CheckPCISlot(s string) error {
	if !slotPattern.MatchString(s) {
		return invalid("pci_slot", "%.40q is not a PCI address (dddd:bb:ss.f)", s)
	}
	return nil
}
