package mgmt

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/openflow"
)

// badSwitch answers connections with what talk writes, and ends them when it returns.
func badSwitch(t *testing.T, talk func(net.Conn)) *Switch {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "br0.mgmt"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			c.Close()
		}
	}()
	s := New(dir, nil)
	t.Cleanup(func() { s.Close(); l.Close(); <-done })
	return s
}

func TestSwitchesThatAreNone(t *testing.T) {
	for name, talk := range map[string]func(net.Conn){
		"one that hangs up":          func(net.Conn) {},
		"one that speaks HTTP":       func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"one of an older OpenFlow":   func(c net.Conn) { _, _ = c.Write([]byte{1, 0, 0, 8, 0, 0, 0, 0}) },
		"one that says hello only":   func(c net.Conn) { _, _ = c.Write([]byte{5, 0, 0, 8, 0, 0, 0, 0}) },
		"one whose message is short": func(c net.Conn) { _, _ = c.Write([]byte{5, 0, 0, 4, 0, 0, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := badSwitch(t, talk)
			if err := s.Set(context.Background(), "br0", &openflow.Program{}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Set = %v, want %v", err, ErrUnavailable)
			}
		})
	}
}

func TestASwitchThatHangsIsGivenUp(t *testing.T) {
	stop := make(chan struct{})
	s := badSwitch(t, func(c net.Conn) {
		_, _ = c.Write([]byte{5, 0, 0, 8, 0, 0, 0, 0})
		<-stop
	})
	defer close(stop)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := s.Set(ctx, "br0", &openflow.Program{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Set = %v, want %v", err, ErrUnavailable)
	}
}
