package libvirt

import (
	"context"
	"fmt"
	"time"
)

// A call ends with its context, and after these in any case.
const (
	callTimeout = 30 * time.Second
	// attachTimeout: VFIO pins all memory of the guest, which takes its time where there
	// is much of it.
	attachTimeout = 3 * time.Minute
	// detachTimeout is for the guest, where the context has no end.
	detachTimeout = time.Minute
)

// Client is a way to one libvirt daemon. It holds no connection: each call makes its own,
// so that it survives restarts of the daemon. It is safe for concurrent use; changes of
// one domain are put in a row by libvirt.
type Client struct {
	uri string
	at  endpoint
}

// New returns a client for a URI without connecting: qemu:///system ([System]),
// qemu:///session, or qemu+unix:///system?socket=/path for a daemon of its own.
func New(uri string) (*Client, error) {
	at, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	return &Client{uri: uri, at: at}, nil
}

// Dial is New and Ping.
func Dial(ctx context.Context, uri string) (*Client, error) {
	c, err := New(uri)
	if err != nil {
		return nil, err
	}
	if _, err = c.Ping(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// URI is the client's.
func (c *Client) URI() string { return c.uri }

// Ping asks libvirt for its version, such as 9.0.0. Errors are ErrUnavailable, or the
// end of ctx.
func (c *Client) Ping(ctx context.Context) (string, error) {
	var v uint64
	err := c.with(ctx, callTimeout, func(s *session) (err error) {
		v, err = s.ConnectGetLibVersion()
		return reply(s.ctx, err)
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000), nil
}

// errTimeout is why a call ended whose own context goes on.
var errTimeout = fmt.Errorf("libvirt takes too long: %w", context.DeadlineExceeded)

// with does fn on a connection of its own, in at most timeout; 0 = as long as ctx lasts.
func (c *Client) with(ctx context.Context, timeout time.Duration, fn func(*session) error) error {
	if timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
	}
	s, err := c.at.connect(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return fn(s)
}
