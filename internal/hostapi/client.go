package hostapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// DefaultSocket is where an agent listens unless [agent] socket says otherwise.
const DefaultSocket = "/run/neutrino/agent.sock"

// Errors for errors.Is, besides those of internal/plug.
var (
	// ErrUnavailable: no agent answers on the socket.
	ErrUnavailable = errors.New("no agent answers")
	// ErrForbidden: this user may not speak to the agent.
	ErrForbidden = errors.New("not allowed")
	// ErrAmbiguous: more than one port begins like that.
	ErrAmbiguous = errors.New("more than one port")
	// ErrNotFound: no port begins like that.
	ErrNotFound = errors.New("no such port on this host")
)

// Client speaks to the agent of this host. It is safe for concurrent use.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the socket at path; "" = DefaultSocket. Nothing is
// opened before the first call.
func NewClient(path string) *Client {
	if path == "" {
		path = DefaultSocket
	}
	c := &Client{path: path}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}
	return c
}

// VFs lists every VF of the host's NICs. counters asks the NICs for them as well.
func (c *Client) VFs(ctx context.Context, counters bool) ([]VF, error) {
	path := "/v1/vfs"
	if counters {
		path += "?counters=1"
	}
	var out []VF
	return out, c.call(ctx, "GET", path, nil, &out)
}

// Ports lists the ports of the host.
func (c *Client) Ports(ctx context.Context) ([]Port, error) {
	var out []Port
	return out, c.call(ctx, "GET", "/v1/ports", nil, &out)
}

// VIFs lists what is plugged.
func (c *Client) VIFs(ctx context.Context) ([]VIF, error) {
	var out []VIF
	return out, c.call(ctx, "GET", "/v1/vifs", nil, &out)
}

// Plug plugs a port and returns when it is.
func (c *Client) Plug(ctx context.Context, q PlugRequest) (VIF, error) {
	var out VIF
	return out, c.call(ctx, "POST", "/v1/vifs", q, &out)
}

// Unplug unplugs a port; generation 0 = whatever is plugged.
func (c *Client) Unplug(ctx context.Context, portID string, generation uint64) error {
	path := "/v1/vifs/" + url.PathEscape(portID)
	if generation != 0 {
		path += "?generation=" + strconv.FormatUint(generation, 10)
	}
	return c.call(ctx, "DELETE", path, nil, nil)
}

// Resolve completes the beginning of a port's id among the given ids.
func Resolve(begin string, ids []string) (string, error) {
	var found []string
	for _, id := range ids {
		if id == begin {
			return id, nil
		}
		if begin != "" && strings.HasPrefix(id, begin) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s: %w", begin, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: %w: %s", begin, ErrAmbiguous, strings.Join(found, ", "))
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, content)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return failure(resp)
	}
	if into == nil {
		return nil
	}
	if err = json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w on %s: start it with: systemctl start neutrino-agent", ErrUnavailable, c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w to open %s: be root, or a member of the socket's group", ErrForbidden, c.path)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("ask the agent on %s: %w", c.path, err)
}

// replied is an error that the agent told, with the sentinel that it names.
type replied struct {
	text string
	kind error
}

func (r replied) Error() string { return r.text }
func (r replied) Unwrap() error { return r.kind }

func failure(resp *http.Response) error {
	var f Failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the agent answers %s", resp.Status)
	}
	if resp.StatusCode == http.StatusForbidden {
		return replied{f.Error, ErrForbidden}
	}
	for _, k := range kinds {
		if k.name == f.Kind {
			return replied{f.Error, k.err}
		}
	}
	return errors.New(f.Error)
}
