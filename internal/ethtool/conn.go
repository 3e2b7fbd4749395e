package ethtool

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Errors for errors.Is.
var (
	// ErrUnsupported: the driver, or this kernel, does not have the setting.
	ErrUnsupported = errors.New("the driver does not have it")
	// ErrNoDevice: no network device of that name in this namespace.
	ErrNoDevice = errors.New("no such network device")
	// ErrNotTaken: the driver took the request and did something else.
	ErrNotTaken = errors.New("the driver did not take it")
)

// Setting is one value as it is now.
type Setting struct {
	Value uint32 `json:"value"`
	Max   uint32 `json:"max,omitempty"`   // the largest that the device can have; 0 = not told
	Fixed bool   `json:"fixed,omitempty"` // it cannot be changed
}

// Settings are what a device has; what is missing it does not have.
type Settings map[Key]Setting

// Conn is an ethtool netlink socket in the namespace where it was opened. It is safe for
// concurrent use. A driver carries out a change within the call, and may take seconds.
type Conn struct {
	mu     sync.Mutex
	nl     *genetlink.Conn
	family genetlink.Family
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	nl, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open ethtool netlink: %w", err)
	}
	family, err := nl.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		nl.Close()
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("this kernel has no ethtool netlink (Linux 5.7 or later is needed): %w", ErrUnsupported)
		}
		return nil, fmt.Errorf("open ethtool netlink: %w", err)
	}
	return &Conn{nl: nl, family: family}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.nl.Close() }

// Read reads all settings that the device has.
func (c *Conn) Read(name string) (Settings, error) {
	out := Settings{}
	for _, g := range groups {
		msgs, err := c.request(name, g.get, 0, nil)
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the %s of %s: %w", g.name, name, err)
		}
		for _, m := range msgs {
			s, derr := g.decode(m.Data)
			if derr != nil {
				return nil, fmt.Errorf("read the %s of %s: %w", g.name, name, derr)
			}
			maps.Copy(out, s)
		}
	}
	msgs, err := c.request(name, unix.ETHTOOL_MSG_FEATURES_GET, 0, nil)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		return nil, fmt.Errorf("read the features of %s: %w", name, err)
	}
	for _, m := range msgs {
		s, derr := decodeFeatures(m.Data)
		if derr != nil {
			return nil, fmt.Errorf("read the features of %s: %w", name, derr)
		}
		maps.Copy(out, s)
	}
	return out, nil
}

// Set changes settings of one group in one request and reads them back.
//
// Errors: ErrUnsupported, ErrNoDevice, ErrNotTaken, and what the driver says.
func (c *Conn) Set(name string, want map[Key]uint32) error {
	keys := slices.Sorted(maps.Keys(want))
	if len(keys) == 0 {
		return nil
	}
	for _, k := range keys {
		if k.Group() != keys[0].Group() {
			return fmt.Errorf("set %s and %s of %s: a request sets one group: %w", keys[0], k, name, errors.ErrUnsupported)
		}
	}
	typ, encode, err := setter(keys[0].Group(), keys, want)
	if err == nil {
		_, err = c.request(name, typ, netlink.Acknowledge, encode)
	}
	if err != nil {
		return fmt.Errorf("set %s of %s: %w", said(keys, want), name, err)
	}
	now, err := c.Read(name)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if now[k].Value != want[k] {
			return fmt.Errorf("set %s of %s to %d: it is %d: %w", k, name, want[k], now[k].Value, ErrNotTaken)
		}
	}
	return nil
}

func said(keys []Key, want map[Key]uint32) string {
	text := ""
	for i, k := range keys {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s to %d", k, want[k])
	}
	return text
}

// request sends one message about a device and returns the answers.
func (c *Conn) request(name string, cmd uint8, flags netlink.HeaderFlags, more func(*netlink.AttributeEncoder)) ([]genetlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	const header = 1 // ETHTOOL_A_*_HEADER is the first of every message
	ae.Nested(header, func(nae *netlink.AttributeEncoder) error {
		nae.String(unix.ETHTOOL_A_HEADER_DEV_NAME, name)
		if flags&netlink.Acknowledge != 0 { // one answer to a request: the acknowledgement
			nae.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_OMIT_REPLY)
		}
		return nil
	})
	if more != nil {
		more(ae)
	}
	body, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	msgs, err := c.nl.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmd, Version: unix.ETHTOOL_GENL_VERSION}, Data: body,
	}, c.family.ID, netlink.Request|flags)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	return msgs, err
}
