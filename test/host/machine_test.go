package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/test/rig"
)

// How long things may take. The emulation is slow, and its machine may have other work.
const (
	bootLimit = 10 * time.Minute
	runLimit  = 6 * time.Minute
)

// machine is a host that runs.
type machine struct {
	host    rig.Host
	share   string
	console rig.Console
	heard   chan answer // what its hand says
	hand    net.Conn
	boot    string // the id of this boot
	orders  int
	stop    context.CancelFunc
	down    chan struct{} // closed when it is
	err     error         // why, after down
}

// answer and order are the hand's.
type answer struct {
	ID    int     `json:"id"`
	Boot  string  `json:"boot"`
	Code  int     `json:"code"`
	Out   string  `json:"out"`
	Files []entry `json:"files"`
}

type order struct {
	ID     int           `json:"id"`
	Script string        `json:"script"`
	Walk   []string      `json:"walk"`
	Limit  time.Duration `json:"limit"`
	Strike *strike       `json:"strike"`
}

// strike ends a run at the Nth line that matches: by kill -9, or with the machine's power.
type strike struct {
	Line string `json:"line"`
	Nth  int    `json:"nth"`
	Cut  bool   `json:"cut"`
}

// last is the end of what the machine has written.
func (m *machine) last(lines int) string {
	all := strings.Split(m.console.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// boot switches a host on. It goes with the test.
func boot(t *testing.T, h rig.Host) *machine {
	t.Helper()
	m := &machine{share: t.TempDir()}
	build(t, filepath.Join(m.share, "hand"), "neutrino/test/host/hand")
	h.Share, h.Port, h.Output, h.StillFor = m.share, filepath.Join(m.share, "port"), &m.console, 5*time.Minute
	m.host = h
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the console:\n%s", m.last(40))
		}
		if m.down != nil {
			m.stop()
			<-m.down
		}
	})
	m.on(t)
	return m
}

// on runs the machine, which is off.
func (m *machine) on(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", m.host.Port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	down := make(chan struct{})
	m.heard, m.down, m.stop = make(chan answer, 4), down, stop
	go func() {
		defer close(down)
		m.err = m.host.Run(ctx)
		if rig.EmulatorFailed(m.err) {
			frozen.Store(true)
		}
		_ = l.Close()
	}()
	if m.hand, err = l.Accept(); err != nil {
		<-down
		t.Fatalf("QEMU does not connect its port: %v: %v", err, m.err)
	}
	go listen(m.hand, m.heard, down)
}

// listen takes what the hand says until the machine is down. What it does not end is no
// answer.
func listen(from net.Conn, heard chan<- answer, down <-chan struct{}) {
	defer close(heard)
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadBytes('\n')
		var a answer
		if json.Unmarshal(line, &a) == nil {
			select {
			case heard <- a:
			case <-down:
			}
		}
		if err != nil {
			return
		}
	}
}

// next is the next thing the hand says.
func (m *machine) next(t *testing.T, limit time.Duration) answer {
	t.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	select {
	case a, ok := <-m.heard:
		if ok {
			return a
		}
		<-m.down
		frozen.Store(true) // nobody has asked it to: as rig.ErrReset
		t.Fatalf("the machine went down: %v", m.err)
	case <-over.C:
		frozen.Store(true)
		t.Fatalf("the machine says nothing for %s", limit)
	}
	return answer{}
}

// arrive waits until the machine has booted, and everything it starts at boot has been
// started.
func (m *machine) arrive(t *testing.T) {
	t.Helper()
	start := time.Now()
	for {
		if a := m.next(t, bootLimit); a.Boot != "" {
			if a.Boot == m.boot {
				t.Fatal("the hand was started again without a boot")
			}
			m.boot = a.Boot
			break
		}
	}
	state, _ := m.try(t, "systemctl is-system-running --wait")
	t.Logf("up after %s: %s", time.Since(start).Round(time.Second), strings.TrimSpace(state))
}

func (m *machine) send(t *testing.T, o order) {
	t.Helper()
	m.orders++
	o.ID = m.orders
	o.Limit = runLimit
	line, err := json.Marshal(o)
	if err == nil {
		_, err = m.hand.Write(append(line, '\n'))
	}
	if err != nil {
		t.Fatalf("ask the machine: %v", err)
	}
}

func (m *machine) ask(t *testing.T, o order) answer {
	t.Helper()
	m.send(t, o)
	a := m.next(t, runLimit+time.Minute)
	if a.Boot != "" {
		t.Fatalf("the machine booted while it did %q; the end of its console:\n%s", o.Script, m.last(30))
	}
	if a.ID != m.orders {
		t.Fatalf("an answer to order %d, want %d", a.ID, m.orders)
	}
	return a
}

// try runs a script and returns its output and exit code.
func (m *machine) try(t *testing.T, script string) (out string, code int) {
	t.Helper()
	a := m.ask(t, order{Script: script})
	return a.Out, a.Code
}

// sh runs a script that has to succeed.
func (m *machine) sh(t *testing.T, script string) string {
	t.Helper()
	out, code := m.try(t, script)
	if code != 0 {
		t.Fatalf("%s: exit code %d:\n%s", script, code, out)
	}
	return strings.TrimSpace(out)
}

// cut runs a script and cuts the machine's power at the nth line that matches. It is up
// again afterwards.
func (m *machine) cut(t *testing.T, script, line string, nth int) {
	t.Helper()
	m.send(t, order{Script: script, Strike: &strike{Line: line, Nth: nth, Cut: true}})
	m.gone(t, fmt.Sprintf("%s: the power was not cut at line %d with %q", script, nth, line), false)
	m.on(t)
	m.arrive(t)
}

// reboot boots the machine again as an administrator does.
func (m *machine) reboot(t *testing.T) {
	t.Helper()
	m.send(t, order{Script: "systemctl reboot --no-block"})
	m.gone(t, "it does not reboot", true)
	m.on(t)
	m.arrive(t)
}

// off switches the machine off.
func (m *machine) off(t *testing.T) {
	t.Helper()
	m.send(t, order{Script: "systemctl poweroff --no-block"})
	m.gone(t, "it does not power off", true)
}

// gone waits until the machine is down. Its hand may still say before that it has done as
// it was asked, or an answer means that it does not go.
func (m *machine) gone(t *testing.T, otherwise string, answers bool) {
	t.Helper()
	over := time.NewTimer(bootLimit)
	defer over.Stop()
	for going := true; going; {
		select {
		case a, ok := <-m.heard:
			if ok && (a.Code != 0 || !answers) {
				t.Fatalf("%s: exit code %d:\n%s", otherwise, a.Code, a.Out)
			}
			going = ok
		case <-over.C:
			t.Fatalf("%s: it is not down after %s", otherwise, bootLimit)
		}
	}
	if <-m.down; m.err != nil {
		t.Fatal(m.err)
	}
}

// walk lists the files of the disk, below some directories.
func (m *machine) walk(t *testing.T, roots ...string) map[string]entry {
	t.Helper()
	a := m.ask(t, order{Walk: roots})
	if a.Code != 0 {
		t.Fatal(a.Out)
	}
	out := make(map[string]entry, len(a.Files))
	for _, f := range a.Files {
		out[f.Path] = f
	}
	return out
}

// entry is a file of the disk; see the hand.
type entry struct {
	Path string `json:"p"`
	Mode uint32 `json:"m"`
	UID  uint32 `json:"u"`
	GID  uint32 `json:"g"`
	What string `json:"w"`
	Attr string `json:"a"`
	Time int64  `json:"t"`
}

func (e entry) String() string {
	return fmt.Sprintf("%o %d:%d %s %s %d", e.Mode, e.UID, e.GID, e.What, e.Attr, e.Time)
}
