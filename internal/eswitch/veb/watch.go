package veb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watch follows the links of the NIC's namespace in two goroutines that Close waits
// for: one reads notifications, one acts on them.
func (s *Switch) watch(ctx context.Context, n *nic) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK, NetNS: n.ns.fd()})
	if err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	due := make(chan struct{}, 1)
	s.wg.Go(func() {
		<-ctx.Done()
		_ = c.SetReadDeadline(time.Unix(1, 0)) // ends Receive
	})
	s.wg.Go(func() {
		defer func() { _ = c.Close() }()
		for {
			msgs, err := c.Receive()
			if ctx.Err() != nil {
				return
			}
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				logger(n).Error("stopped watching links", "err", err)
				return
			}
			if err == nil && !n.concerned(msgs) {
				continue
			}
			select {
			case due <- struct{}{}:
			default:
			}
		}
	})
	s.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-due:
			}
			s.attend(ctx, n)
		}
	})
	return nil
}

// concerned reports whether a notification is about a device of the NIC.
func (n *nic) concerned(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			continue
		}
		for ad.Next() {
			if ad.Type() == unix.IFLA_IFNAME && strings.HasPrefix(ad.String(), n.spec.Name) {
				return true
			}
		}
	}
	return false
}

// attend does what the NIC has to do by itself and says so if something was changed
// by somebody else.
func (s *Switch) attend(ctx context.Context, n *nic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, err := n.look(ctx)
	if err == nil && n.stale(&p) {
		p, err = n.settle(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		logger(n).Debug("NIC is gone", "err", err)
		s.raise()
		return
	}
	if err != nil {
		logger(n).Warn("NIC is not as it should be", "err", err)
		s.raise()
		return
	}
	if n.notice(&p) {
		s.raise()
	}
}
