package lab

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// DefaultName of a lab.
const DefaultName = "lab"

// DefaultBase is where labs keep their state, one directory each.
const DefaultBase = "/run/neutrino/lab"

// NIC is the name of each host's PF, as in the guides.
const NIC = "eth6"

// PhysicalNetwork that the NICs are on.
const PhysicalNetwork = "default"

// maxSocket is what fits a unix socket's address (unix(7)).
const maxSocket = 107

// ErrName: not a name for a lab, an instance or a network.
var ErrName = errors.New("not a name")

var (
	// A lab's name holds no '-', so that "a" with a host "b-c" can never be taken for
	// "a-b" with a host "c".
	labName  = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)
	baseDir  = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	partName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,29}$`)
)

// Names of everything one lab has. All of them follow from the lab's name and the
// base directory, which is what lets "down" work without any file.
type Names struct {
	Lab  string
	Base string
}

// NewNames checks the lab's name. base "" = DefaultBase.
func NewNames(lab, base string) (Names, error) {
	if base == "" {
		base = DefaultBase
	}
	if !labName.MatchString(lab) {
		return Names{}, fmt.Errorf("lab %q: %w: up to 15 lower-case letters and digits are wanted, a letter first", lab, ErrName)
	}
	n := Names{Lab: lab, Base: filepath.Clean(base)}
	// The path goes into option files, where commas and '$' mean something, and into
	// the address of a socket.
	if !baseDir.MatchString(n.Base) || len(n.Socket()) > maxSocket {
		return Names{}, fmt.Errorf("directory %q for the state of labs: an absolute path of letters, digits, '.', '_' and '-' is wanted, short enough for a socket in it", base)
	}
	return n, nil
}

// Dir holds the lab's state.
func (n Names) Dir() string { return filepath.Join(n.Base, n.Lab) }

// File in the lab's directory.
func (n Names) File(parts ...string) string {
	return filepath.Join(append([]string{n.Dir()}, parts...)...)
}

// Socket of the controller's fabric.
func (n Names) Socket() string { return n.File("fabric.sock") }

// AgentSocket is where a host's agent answers `neutrino vif`.
func (n Names) AgentSocket(host string) string { return n.File(host + ".sock") }

// Pins is the directory of the records and pinned eBPF objects of a host's NIC (or the trunk).
func (n Names) Pins(host string) string { return n.File("nic", host) }

// Namespace of a host, an instance or another part of the lab.
func (n Names) Namespace(part string) string { return n.Prefix() + part }

// Prefix of the lab's namespaces.
func (n Names) Prefix() string { return n.Lab + "-" }

// Part is the inverse of Namespace.
func (n Names) Part(namespace string) (string, bool) { return strings.CutPrefix(namespace, n.Prefix()) }

// mark is the alias of lo in each of the lab's namespaces: a name alone could be
// somebody else's.
func (n Names) mark() string { return "neutrino-lab " + n.Lab + " " + n.Base }

// Parts that are neither hosts nor instances.
const (
	trunkPart = "trunk"
	wirePart  = "wire-" // and a path's name and side: what the VFs are compared with
)

func checkPart(kind, name string) error {
	if !partName.MatchString(name) || name == trunkPart || strings.HasPrefix(name, wirePart) {
		return fmt.Errorf("%s %q: %w: lower-case letters, digits and '-' are wanted, a letter first, and not %q or %q",
			kind, name, ErrName, trunkPart, wirePart+"...")
	}
	return nil
}
