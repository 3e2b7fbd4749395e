package libvirt

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	rpc "github.com/digitalocean/go-libvirt"
)

// System is the URI of the host's own libvirt.
const System = "qemu:///system"

// The daemons' sockets, below the run directory: the QEMU daemon of a modular libvirt,
// then the one daemon of a monolithic.
var socketNames = []string{"libvirt/virtqemud-sock", "libvirt/libvirt-sock"}

// endpoint is where a daemon listens and which driver it is asked for.
type endpoint struct {
	open    rpc.ConnectURI
	sockets []string // the first that answers is it
}

// parseURI reads what libvirt calls a connection URI, as far as it is local:
// qemu:///system, qemu:///session, and with ?socket=/path a daemon of its own.
func parseURI(uri string) (endpoint, error) {
	bad := func(why string) (endpoint, error) {
		return endpoint{}, fmt.Errorf("libvirt URI %q: %s: use %s, qemu:///session or qemu+unix:///system?socket=/path", uri, why, System)
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return bad(err.Error())
	case u.Scheme != "qemu" && u.Scheme != "qemu+unix":
		return bad("only QEMU on this host is spoken to")
	case u.Host != "" || u.User != nil:
		return bad("domains of other hosts are theirs")
	case u.Path != "/system" && u.Path != "/session":
		return bad("the path is neither /system nor /session")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad(err.Error())
	}
	for k := range q {
		if k != "socket" {
			return bad(fmt.Sprintf("parameter %q is unknown", k))
		}
	}
	e := endpoint{open: rpc.ConnectURI("qemu://" + u.Path)}
	switch socket := q.Get("socket"); {
	case socket != "" && !filepath.IsAbs(socket):
		return bad("the socket is not an absolute path")
	case socket != "":
		e.sockets = []string{socket}
	case u.Path == "/system":
		e.sockets = below("/run")
	default:
		dir, err := sessionDir()
		if err != nil {
			return bad(err.Error())
		}
		e.sockets = below(dir)
	}
	return e, nil
}

func below(dir string) []string {
	out := make([]string, len(socketNames))
	for i, n := range socketNames {
		out[i] = filepath.Join(dir, n)
	}
	return out
}

// sessionDir is where a user's own daemons listen (virGetUserRuntimeDirectory).
func sessionDir() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir, nil
	}
	return os.UserCacheDir()
}
