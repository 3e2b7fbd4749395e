package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// The checks of single values and of single items of lists. Their errors say what is
// allowed; the caller adds where.

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?$`)
	netdev   = regexp.MustCompile(`^[^\s/:]{1,15}$`)
	pciSlot  = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$`)
	cluster  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	macForm  = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)
)

func isHostName(v string) error {
	if v != "" && !hostName.MatchString(v) {
		return errors.New("not a host name")
	}
	return nil
}

func isDomain(v string) error {
	if v != "" && !hostName.MatchString(v) {
		return errors.New("not a domain name")
	}
	return nil
}

// isHost accepts an address or a host name.
func isHost(v string) error {
	if _, err := netip.ParseAddr(strings.Trim(v, "[]")); err == nil {
		return nil
	}
	if v == "" || !hostName.MatchString(v) {
		return errors.New("neither an IP address nor a host name")
	}
	return nil
}

func isIP(v string) error {
	if _, err := netip.ParseAddr(v); err != nil {
		return errors.New("not an IP address")
	}
	return nil
}

func isHostPort(v string) error {
	if v == "" {
		return nil
	}
	const want = "not of the form host:port, such as 127.0.0.1:9695"
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return errors.New(want)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not 1 to 65535", port)
	}
	if host != "" {
		return isHost(host)
	}
	return nil
}

func isFabricAddress(v string) error {
	if p, ok := strings.CutPrefix(v, "unix://"); ok {
		if !path.IsAbs(p) {
			return errors.New("unix:// must be followed by an absolute path")
		}
		return nil
	}
	if v == "" || strings.Contains(v, "://") {
		return errors.New("neither host:port nor unix:///path")
	}
	return isHostPort(v)
}

// isController is what an agent may connect to.
func isController(v string) error {
	if err := isFabricAddress(strings.TrimPrefix(v, "https://")); err != nil {
		return err
	}
	if strings.HasPrefix(v, "https://unix://") {
		return errors.New("neither host:port nor unix:///path")
	}
	return nil
}

// isOVSDB is the address of an Open vSwitch database.
func isOVSDB(v string) error {
	scheme, rest, _ := strings.Cut(v, ":")
	switch scheme {
	case "unix":
		if !path.IsAbs(rest) {
			return errors.New("unix: must be followed by an absolute path")
		}
		return nil
	case "ssl", "tcp":
		if err := isHostPort(rest); err != nil || rest == "" {
			return errors.New("host:port must follow " + scheme + ":")
		}
		if host, _, _ := net.SplitHostPort(rest); scheme == "tcp" && !loopback(host) {
			return errors.New("without TLS only a database on loopback is spoken to: write ssl:host:port")
		}
		return nil
	}
	return errors.New("none of unix:/path, ssl:host:port, tcp:127.0.0.1:port")
}

func isURL(v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("not an http:// or https:// URL")
	}
	return nil
}

func isCluster(v string) error {
	if !cluster.MatchString(v) {
		return errors.New("letters, digits, dots, dashes and underscores are allowed, up to 63")
	}
	return nil
}

func isMAC(v string) error {
	if !macForm.MatchString(v) {
		return errors.New("not a MAC address of the form fa:16:3e:00:00:00")
	}
	if first, err := strconv.ParseUint(v[:2], 16, 8); err != nil || first&1 != 0 {
		return errors.New("a multicast address: the first octet must be even")
	}
	return nil
}

func isPhysicalNetwork(v string) error {
	if v == "" || len(v) > 64 || strings.ContainsAny(v, " \t\n:/") {
		return errors.New("not a physical network's name: 1 to 64 characters without blanks, colons and slashes")
	}
	return nil
}

func isDevice(v string) error {
	if v == "." || v == ".." || !netdev.MatchString(v) {
		return fmt.Errorf("%q is not a network interface's name (1 to 15 characters)", v)
	}
	return nil
}

func isVLANRange(v string) error {
	parts := strings.Split(v, ":")
	if err := isPhysicalNetwork(parts[0]); err != nil {
		return err
	}
	switch len(parts) {
	case 1:
		return nil
	case 3:
		return isRange(parts[1], parts[2], 1, 4094, "VLAN")
	}
	return errors.New("neither physical_network nor physical_network:min:max")
}

func isVNIRange(v string) error {
	lo, hi, ok := strings.Cut(v, ":")
	if !ok {
		return errors.New("not of the form min:max")
	}
	return isRange(lo, hi, 1, 1<<24-1, "VNI")
}

func isRange(from, to string, low, high int, what string) error {
	lo, err := strconv.Atoi(strings.TrimSpace(from))
	if err != nil {
		return fmt.Errorf("%q is not a %s", from, what)
	}
	hi, err := strconv.Atoi(strings.TrimSpace(to))
	if err != nil {
		return fmt.Errorf("%q is not a %s", to, what)
	}
	if lo < low || hi > high {
		return fmt.Errorf("%ss are %d to %d", what, low, high)
	}
	if lo > hi {
		return fmt.Errorf("the range ends (%d) before it begins (%d)", hi, lo)
	}
	return nil
}
