package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
)

// Errors for errors.Is.
var (
	// ErrUnavailable: no libvirt daemon answers.
	ErrUnavailable = errors.New("libvirt does not answer")
	// ErrNoDomain: no domain of that name or UUID.
	ErrNoDomain = errors.New("no such domain")
	// ErrStillAttached: the guest has not let go of the device.
	ErrStillAttached = errors.New("guest does not let go of the device")
	// ErrURI: a URI that is not a local hypervisor's.
	ErrURI = errors.New("not the URI of a local hypervisor")
)

// Client of one hypervisor. It is safe for concurrent use.
type Client struct {
	uri     libvirt.ConnectURI
	sockets []string // tried in order
}

// New returns a client of a local hypervisor: qemu:///system, qemu:///session, or either
// with ?socket=PATH. Nothing is opened before the first call.
func New(uri string) (*Client, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("libvirt URI %q: %w: %w", uri, ErrURI, err)
	}
	driver, transport, _ := strings.Cut(u.Scheme, "+")
	if driver == "" || u.Host != "" || (transport != "" && transport != "unix") || (u.Path != "/system" && u.Path != "/session" && driver != "test") {
		return nil, fmt.Errorf("libvirt URI %q: %w: use qemu:///system, qemu:///session, or one of them with ?socket=PATH", uri, ErrURI)
	}
	c := &Client{uri: libvirt.ConnectURI(driver + "://" + u.Path)}
	if s := u.Query().Get("socket"); s != "" {
		c.sockets = []string{s}
		return c, nil
	}
	dir := "/run/libvirt"
	if u.Path == "/session" {
		dir = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "libvirt")
	}
	// The monolithic daemon, and the modular one of newer distributions.
	c.sockets = []string{filepath.Join(dir, "libvirt-sock"), filepath.Join(dir, "virt"+driver+"d-sock")}
	return c, nil
}

// dialer opens the socket and remembers it, so that a call that hangs can be cut off.
type dialer struct {
	ctx     context.Context
	sockets []string
	mu      sync.Mutex
	conn    net.Conn
}

// Dial implements go-libvirt's socket.Dialer.
func (d *dialer) Dial() (net.Conn, error) {
	var nd net.Dialer
	var errs []error
	for _, s := range d.sockets {
		c, err := nd.DialContext(d.ctx, "unix", s)
		if err == nil {
			d.mu.Lock()
			d.conn = c
			d.mu.Unlock()
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (d *dialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// with runs f with a connection. When ctx ends the connection is cut, which ends
// whatever call hangs in f.
func (c *Client) with(ctx context.Context, f func(*libvirt.Libvirt) error) error {
	d := &dialer{ctx: ctx, sockets: c.sockets}
	l := libvirt.NewWithDialer(d)
	stop := context.AfterFunc(ctx, d.cut)
	defer stop()
	if err := l.ConnectToURI(c.uri); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("connect to %s: %w: %w: is its daemon running? systemctl start libvirtd, or virtqemud.socket", c.uri, ErrUnavailable, err)
	}
	err := f(l)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	if derr := l.Disconnect(); err == nil && derr != nil {
		return fmt.Errorf("disconnect from %s: %w", c.uri, derr)
	}
	return err
}

// lookup finds a domain by UUID or name.
func lookup(l *libvirt.Libvirt, domain string) (libvirt.Domain, error) {
	if id, err := uuid.Parse(domain); err == nil {
		d, uerr := l.DomainLookupByUUID(libvirt.UUID(id))
		if !isNoDomain(uerr) {
			return d, wrap("look for domain "+domain, uerr)
		}
	}
	d, err := l.DomainLookupByName(domain)
	if isNoDomain(err) {
		return d, fmt.Errorf("domain %s: %w; virsh list --all shows those there are", domain, ErrNoDomain)
	}
	return d, wrap("look for domain "+domain, err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func code(err error) libvirt.ErrorNumber {
	var e libvirt.Error
	if errors.As(err, &e) {
		return libvirt.ErrorNumber(e.Code)
	}
	return 0
}

func isNoDomain(err error) bool { return code(err) == libvirt.ErrNoDomain }

// Find returns a domain's name and UUID.
func (c *Client) Find(ctx context.Context, domain string) (name, id string, err error) {
	err = c.with(ctx, func(l *libvirt.Libvirt) error {
		d, lerr := lookup(l, domain)
		name, id = d.Name, uuid.UUID(d.UUID).String()
		return lerr
	})
	return name, id, err
}

// Domains lists every domain, running or not, with its devices.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	var out []Domain
	err := c.with(ctx, func(l *libvirt.Libvirt) error {
		all, _, err := l.ConnectListAllDomains(1, 0)
		if err != nil {
			return wrap("list domains", err)
		}
		for _, d := range all {
			one, oerr := describe(l, d)
			if isNoDomain(oerr) {
				continue // it went meanwhile
			}
			if oerr != nil {
				return oerr
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

// describe reads a domain: what runs, and what is configured.
func describe(l *libvirt.Libvirt, d libvirt.Domain) (Domain, error) {
	out := Domain{Name: d.Name, UUID: uuid.UUID(d.UUID).String()}
	active, err := l.DomainIsActive(d)
	if err != nil {
		return out, wrap("read domain "+d.Name, err)
	}
	persistent, err := l.DomainIsPersistent(d)
	if err != nil {
		return out, wrap("read domain "+d.Name, err)
	}
	out.Running, out.Persistent = active != 0, persistent != 0
	read := func(flags libvirt.DomainXMLFlags, mark func(*Device)) error {
		text, xerr := l.DomainGetXMLDesc(d, flags)
		if xerr != nil {
			return wrap("read domain "+d.Name, xerr)
		}
		devs, xerr := devicesOf(text)
		if xerr != nil {
			return wrap("read domain "+d.Name, xerr)
		}
		for _, dev := range devs {
			out.add(dev, mark)
		}
		return nil
	}
	if out.Running {
		if err = read(0, func(v *Device) { v.Live = true }); err != nil {
			return out, err
		}
	}
	if out.Persistent {
		err = read(libvirt.DomainXMLInactive, func(v *Device) { v.Config = true })
	}
	return out, err
}

// add notes a device once, whether it runs, is configured, or both. Devices without an
// alias of their own get one from libvirt while they run.
func (d *Domain) add(dev Device, mark func(*Device)) {
	for i := range d.Devices {
		have := &d.Devices[i]
		if have.PCISlot == dev.PCISlot && have.Netdev == dev.Netdev && have.MAC == dev.MAC {
			mark(have)
			return
		}
	}
	mark(&dev)
	d.Devices = append(d.Devices, dev)
}

// device finds a device by its alias.
func (d *Domain) device(alias string) (Device, bool) {
	for _, v := range d.Devices {
		if v.Alias == alias {
			return v, true
		}
	}
	return Device{}, false
}
