package hostprep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"neutrino/internal/ledger"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
)

// PFBefore is what a NIC was before the host was prepared, as the ledger keeps it.
type PFBefore struct {
	Slot      string        `json:"pci_slot"`
	PF        string        `json:"pf"`
	Count     int           `json:"count"`
	To        int           `json:"to"` // what it was given
	Driver    string        `json:"driver,omitempty"`
	Autoprobe bool          `json:"autoprobe"`
	Firmware  []FirmwareKey `json:"firmware,omitempty"`
	Mgmt      bool          `json:"even_management,omitempty"`
}

// befores reads what the ledger's note says.
func befores(r *ledger.Record) ([]PFBefore, error) {
	var out []PFBefore
	if r == nil || len(r.Note) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(r.Note, &out); err != nil {
		return nil, fmt.Errorf("%w: what the NICs were: %w", ledger.ErrBad, err)
	}
	for _, b := range out {
		if pci.CheckSlot(b.Slot) != nil || b.Count < 0 || b.To < 0 {
			return nil, fmt.Errorf("%w: what the NICs were: %.40q", ledger.ErrBad, b.Slot)
		}
	}
	return out, nil
}

// note adds this NIC to what the ledger knows of NICs; the first time counts.
func (p *Preparation) note(pf pci.PF) error {
	r, err := p.host.Ledger().Load()
	if err != nil {
		return err
	}
	all, err := befores(r)
	if err != nil {
		return err
	}
	b := PFBefore{Slot: pf.Slot, PF: p.PF, Count: pf.NumVFs, Autoprobe: pf.Autoprobe, Mgmt: p.want.ManagementToo}
	if len(pf.VFs) > 0 {
		if d, derr := p.host.Sys.Driver(pf.VFs[0].Slot); derr == nil && pci.IsVFIO(d) {
			b.Driver = d
		}
	}
	i := slices.IndexFunc(all, func(x PFBefore) bool { return x.Slot == pf.Slot })
	if i < 0 {
		i, all = len(all), append(all, b)
	}
	all[i].To = p.want.VFs
	for _, k := range p.Firmware {
		if !slices.ContainsFunc(all[i].Firmware, func(x FirmwareKey) bool { return x.Key == k.Key }) {
			all[i].Firmware = append(all[i].Firmware, k)
		}
	}
	if p.Nothing() {
		return nil
	}
	p.work.Note, err = json.Marshal(all)
	return err
}

// Run carries it out: files, programs, modules, firmware, VFs. Before the first of them, what was there
// is on disk. Where a step fails, what was done stays, and Unprepare takes it back.
func (p *Preparation) Run(ctx context.Context, tell func(step string)) error {
	if tell == nil {
		tell = func(string) {}
	}
	if p.Nothing() {
		return nil
	}
	w := p.work
	w.Run, w.Progress = runProgram, tell
	if err := p.host.Ledger().Apply(ctx, w); err != nil {
		return err
	}
	p.host.reload(ctx)
	for _, m := range p.Modules {
		tell("load " + m)
		if err := modprobe(ctx, m); err != nil {
			return err
		}
	}
	for _, k := range p.Firmware {
		tell(fmt.Sprintf("set %s=%s in the firmware of %s", k.Key, k.To, p.PF))
		if err := setFirmware(ctx, p.Slot, k.Key, k.To); err != nil {
			return err
		}
	}
	if p.VFs == nil || len(p.VFs.Steps) == 0 {
		return nil
	}
	// Modules have come since it was planned.
	plan, err := PlanVFs(ctx, p.host, Want{PF: p.Slot, N: p.want.VFs, Driver: p.driver(), Autoprobe: true, ManagementToo: p.want.ManagementToo, sparing: true})
	if err != nil {
		return err
	}
	return plan.Run(ctx, tell)
}

// Unprepared is what Unprepare has done.
type Unprepared struct {
	Files []ledger.Outcome `json:"files"`
	Notes []string         `json:"notes"`
}

// Unprepare brings a host back to what it was before the first Prepare: the VFs, the firmware's
// settings, every file. It may run any number of times, after a crash too. VFs that are in use are an
// error, before anything is changed; with force, files that somebody else has changed since go back too.
//
// Errors: ledger.ErrNothing, ErrLeft, ErrBusy and ErrBad; ErrInUse, ErrManagement.
func Unprepare(ctx context.Context, h Host, force bool, tell func(step string)) (Unprepared, error) {
	u := Unprepared{Files: []ledger.Outcome{}, Notes: []string{}}
	if tell == nil {
		tell = func(string) {}
	}
	l := h.Ledger()
	r, err := l.Load()
	if err != nil {
		return u, err
	}
	all, err := befores(r)
	if err != nil {
		return u, err
	}
	var plans []Plan
	for _, b := range all {
		plan, perr := h.backTo(ctx, b)
		if errors.Is(perr, pci.ErrNoDevice) {
			u.Notes = append(u.Notes, b.PF+" ("+b.Slot+") is not there any more")
			continue
		}
		if perr != nil {
			return u, perr
		}
		plans = append(plans, plan)
	}
	for _, plan := range plans {
		if err = plan.Run(ctx, tell); err != nil {
			return u, err
		}
	}
	for _, b := range all {
		for _, k := range b.Firmware {
			tell(fmt.Sprintf("set %s=%s in the firmware of %s, as it was", k.Key, k.Was, b.PF))
			if err = setFirmware(ctx, b.Slot, k.Key, number(k.Was)); err != nil {
				return u, err
			}
		}
		if len(b.Firmware) > 0 {
			u.Notes = append(u.Notes, "the firmware of "+b.PF+" takes its settings at a reboot")
		}
	}
	line, _ := os.ReadFile(h.path("proc/cmdline"))
	out, err := l.Undo(ctx, ledger.Back{Force: force, Run: runProgram, Progress: tell})
	if out != nil {
		u.Files = out
	}
	if err != nil {
		return u, err
	}
	h.reload(ctx)
	for _, o := range u.Files {
		if (strings.HasPrefix(o.Path, "etc/default/grub") || strings.Contains(o.Path, "loader/entries")) && hasWord(string(line), "iommu=pt") {
			u.Notes = append(u.Notes, "the running kernel was started with the words that are removed now: they go with a reboot")
			break
		}
	}
	return u, nil
}

// backTo plans the VFs that a NIC had.
func (h Host) backTo(ctx context.Context, b PFBefore) (Plan, error) {
	pf, err := h.Sys.PF(b.Slot)
	if err != nil {
		return Plan{}, err
	}
	if !pf.Settable || pf.NumVFs != b.To || pf.NumVFs == b.Count && b.Driver == "" {
		return Plan{host: h, PF: pf}, nil // mlx4: its file says so; another number: somebody else's
	}
	return PlanVFs(ctx, h, Want{PF: b.Slot, N: b.Count, Driver: b.Driver, Autoprobe: b.Autoprobe, ManagementToo: b.Mgmt, sparing: true})
}

// number is what mstconfig takes for a value that it prints as "True(1)".
func number(v string) string {
	if n, ok := mstconfig.Value(v).Number(); ok {
		return fmt.Sprint(n)
	}
	return v
}

func setFirmware(ctx context.Context, slot, key, value string) error {
	program, err := mstconfig.Find()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, "-y", "-d", slot, "set", key+"="+value).CombinedOutput()
	if err != nil {
		return fmt.Errorf("set %s=%s in the firmware of %s: %w: %s", key, value, slot, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func modprobe(ctx context.Context, name string) error {
	program, err := exec.LookPath("modprobe")
	if err != nil {
		return fmt.Errorf("load %s: %w: install kmod", name, err)
	}
	if out, rerr := exec.CommandContext(ctx, program, name).CombinedOutput(); rerr != nil {
		return fmt.Errorf("load %s: %w: %s", name, rerr, strings.TrimSpace(string(out)))
	}
	return nil
}

// reload has systemd and udev read their files again. Where they do not run, they will read them when they do.
func (h Host) reload(ctx context.Context) {
	if !h.live() {
		return
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		if systemctl, lerr := exec.LookPath("systemctl"); lerr == nil {
			_ = exec.CommandContext(ctx, systemctl, "daemon-reload").Run()
		}
	}
	if _, err := os.Stat("/run/udev/control"); err == nil {
		if udevadm, lerr := exec.LookPath("udevadm"); lerr == nil {
			_ = exec.CommandContext(ctx, udevadm, "control", "--reload").Run()
		}
	}
}

// binary is what units start.
func (h Host) binary() string {
	if h.live() {
		if self, err := os.Executable(); err == nil {
			return self
		}
	}
	return "/usr/local/bin/neutrino"
}

// runProgram runs a program of the distribution and all that it starts so that they die with neutrino:
// a boot loader's file that is still being written after undo has begun would outlive it. It is the first
// process of a PID namespace of its own, and the kernel ends that with it.
func runProgram(ctx context.Context, argv []string) error {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("%w: it is part of the system: install it", err)
	}
	runtime.LockOSThread() // the signal comes when the thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(string(out), 5))
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
