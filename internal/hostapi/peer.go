package hostapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrInUse: another agent serves the socket.
var ErrInUse = errors.New("socket is in use")

type peerKey struct{}

// peer is who is at the other end, as the kernel says.
type peer struct {
	uid, gid uint32
	pid      int32
	err      error
}

// withPeer is an http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

func peerOf(c net.Conn) peer {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return peer{err: errors.New("not a unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	var p peer
	err = raw.Control(func(fd uintptr) {
		cred, cerr := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if cerr != nil {
			p.err = cerr
			return
		}
		p.uid, p.gid, p.pid = cred.Uid, cred.Gid, cred.Pid
	})
	if err != nil {
		p.err = err
	}
	return p
}

// allowed reports whether the peer may speak to the agent. group -1 = no group.
func (p peer) allowed(group int) error {
	switch {
	case p.err != nil:
		return fmt.Errorf("who is at the other end of the socket: %w", p.err)
	case p.uid == 0, int(p.uid) == os.Geteuid():
		return nil
	case group >= 0 && (int(p.gid) == group || inGroup(p.uid, group)):
		return nil
	}
	return fmt.Errorf("user %d may not: root may, and members of [agent] socket_group", p.uid)
}

func inGroup(uid uint32, group int) bool {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.Itoa(group))
}

// Listen makes the socket, for its owner alone or for a group besides. A socket that
// nobody serves any more is replaced; one that is served is ErrInUse.
func Listen(ctx context.Context, path, group string) (l net.Listener, gid int, err error) {
	gid = -1
	if group != "" {
		g, gerr := user.LookupGroup(group)
		if gerr != nil {
			return nil, -1, fmt.Errorf("[agent] socket_group %s: %w", group, gerr)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, -1, fmt.Errorf("[agent] socket_group %s: gid %q: %w", group, g.Gid, err)
		}
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, -1, fmt.Errorf("make the directory of the agent's socket: %w", err)
	}
	var d net.Dialer
	if c, derr := d.DialContext(ctx, "unix", path); derr == nil {
		_ = c.Close()
		return nil, -1, fmt.Errorf("listen on %s: %w: another agent serves it", path, ErrInUse)
	}
	if err = os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, -1, fmt.Errorf("remove the old socket: %w", err)
	}
	var lc net.ListenConfig
	l, err = lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, -1, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Whoever gets in before the mode is set is asked who he is all the same.
	mode := os.FileMode(0o600)
	if gid >= 0 {
		mode = 0o660
	}
	if err = errors.Join(os.Chown(path, -1, gid), os.Chmod(path, mode)); err != nil {
		_ = l.Close()
		return nil, -1, fmt.Errorf("set owner and mode of %s: %w", path, err)
	}
	return l, gid, nil
}
