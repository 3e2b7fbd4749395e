package rig

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMachineThatStandsStillIsSwitchedOff(t *testing.T) {
	m := machine(t)
	m.stillFor = 20 * time.Second
	m.Script = "echo up\nsleep 600\n"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m.Output = trigger{"up", func() {
		c, err := net.Dial("unix", filepath.Join(m.Share, "monitor"))
		if err != nil {
			t.Error(err)
			cancel()
			return
		}
		defer c.Close()
		if _, err = io.WriteString(c, "stop\ninfo status\n"); err != nil {
			t.Error(err)
		}
		buf, said := make([]byte, 4096), ""
		for !strings.Contains(said, "paused") {
			n, rerr := c.Read(buf)
			if rerr != nil {
				t.Error(rerr)
				break
			}
			said += string(buf[:n])
		}
	}}
	_, err := m.Run(ctx)
	if !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), "CPU#1") || !strings.Contains(err.Error(), "RIP=") {
		t.Errorf("%v; want that it stood still, and where", err)
	}
}
