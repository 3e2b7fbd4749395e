package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Machine says what to boot.
type Machine struct {
	NICs   int // igb NICs of seven VFs each
	Memory int // MiB; 0 = 2048; see maxMemory
	// Bridge of the calling thread's network namespace: each NIC becomes a tap on it, and
	// machines on one bridge are in one rack. "" = the NICs share a hub of their own.
	Bridge string
	// Wires are bridges, too: the machine has a virtio NIC on each, after its igb NICs.
	Wires []string
	// Share is a directory of this machine that is /vm in there, read-write. It holds
	// what the script needs; files "script", "boot", "exit", "alive", "monitor" and
	// "initramfs" are the rig's.
	Share string
	// Script is run by bash in there, with Env ("NAME=value") in its environment. Its
	// output goes to Output as it comes, line by line.
	Script string
	Env    []string
	Output io.Writer

	stillFor time.Duration // tests; 0 = the constant
}

// cpu of the machine: AMD's, with SVM, so that it has /dev/kvm. Without three features
// that cost time under emulation: string instructions which the kernel and the C
// library take for fast, and a fifth level of page tables.
const cpu = "max,erms=off,fsrm=off,la57=off"

// kernelArgs are the machine's kernel's. A busy host lets an emulated timer be late, which
// the kernel else takes for one that does not work, and panics (no_timer_check). Now and then
// the emulator forgets to wake a halted processor for an interrupt: where the kernel has
// stopped its tick, nothing else wakes it, and the machine stands still (nohz=off, and
// highres=off so that the tick is the timer's own period).
const kernelArgs = "console=ttyS0 panic=-1 quiet no_timer_check nohz=off highres=off intel_iommu=on iommu=pt mitigations=off"

// machines counts those of this process.
var machines atomic.Uint32

// maxMemory of a machine, in MiB. With memory above 4 GiB of the address space, which
// q35 has from here on, the PF of QEMU 10.0's igb is not told of its VFs' mailboxes, and
// every VF driver finds it "still in reset state".
const maxMemory = 2048

// Run boots the machine, runs the script and returns its exit code. When ctx ends the
// machine is switched off; one that stands still is, too, and the error is ErrFrozen. When
// QEMU dies it is ErrDied, and when the machine goes down before the script's end ErrReset.
func (m Machine) Run(ctx context.Context) (code int, err error) {
	k, err := findKernel()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	initramfs, err := m.prepare(k)
	if err != nil {
		return 0, err
	}
	var taps []*os.File
	defer func() { closeAll(taps) }()
	for _, bridge := range m.bridges() {
		tap, terr := openTap(bridge)
		if terr != nil {
			return 0, terr
		}
		taps = append(taps, tap)
	}
	args, err := m.args(k, initramfs, taps, machines.Add(1))
	if err != nil {
		return 0, err
	}
	if err = (emulator{args, taps, m.Share, m.Output, m.stillFor}).run(ctx); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(m.Share, "exit"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, ErrReset
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// bridges lists what needs a tap: the igb NICs' bridge for each of them, then the wires.
func (m Machine) bridges() []string {
	var out []string
	if m.Bridge != "" {
		out = slices.Repeat([]string{m.Bridge}, m.NICs)
	}
	return append(out, m.Wires...)
}

// prepare fills the shared directory.
func (m Machine) prepare(k kernel) (initramfs string, err error) {
	for _, name := range []string{"exit", "alive"} {
		if err = os.Remove(filepath.Join(m.Share, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	initramfs = filepath.Join(m.Share, "initramfs")
	if err = writeInitramfs(k, initramfs); err != nil {
		return "", fmt.Errorf("make the initramfs: %w", err)
	}
	env, err := environment(m.Env)
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"script": env + m.Script, "boot": machineBoot} {
		if err = os.WriteFile(filepath.Join(m.Share, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return initramfs, nil
}

// environment is the shell's text that exports variables.
func environment(vars []string) (string, error) {
	var s strings.Builder
	for _, v := range vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || !variable.MatchString(name) || strings.ContainsRune(value, 0) {
			return "", fmt.Errorf("environment: %q is not NAME=value", v)
		}
		fmt.Fprintf(&s, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return s.String(), nil
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// args are QEMU's. number is this machine's among those of this process: no two that
// are wired to one bridge may have the same MACs.
func (m Machine) args(k kernel, initramfs string, taps []*os.File, number uint32) ([]string, error) {
	memory := cmp.Or(m.Memory, maxMemory)
	if memory > maxMemory {
		return nil, tooMuch(memory)
	}
	args := []string{
		"-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", cpu, "-smp", "2", "-m", strconv.Itoa(memory),
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-monitor", "unix:" + filepath.Join(m.Share, "monitor") + ",server=on,wait=off",
		"-kernel", k.image, "-initrd", initramfs,
		"-append", kernelArgs,
		"-device", "intel-iommu,intremap=on,caching-mode=on",
		"-fsdev", "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap", "-device", "virtio-9p-pci,fsdev=r,mount_tag=root",
		"-fsdev", "local,id=s,path=" + m.Share + ",security_model=none", "-device", "virtio-9p-pci,fsdev=s,mount_tag=share",
	}
	// QEMU's descriptors begin with 3, the first of exec.Cmd's ExtraFiles.
	wired := len(taps) - len(m.Wires)
	for i := range m.NICs {
		net := fmt.Sprintf("hubport,id=n%d,hubid=7", i)
		if i < wired {
			net = fmt.Sprintf("tap,id=n%d,fd=%d,vhost=off", i, 3+i)
		}
		args = append(args, sriovNIC(net, i, number)...)
	}
	for i := range m.Wires {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=w%d,fd=%d,vhost=off", i, 3+wired+i),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=w%d,mac=%s", i, mac(1, i, number)))
	}
	return args, nil
}

// sriovNIC is the i-th igb NIC of a machine behind a port of its own, with QEMU's words
// for what it is wired to.
func sriovNIC(netdev string, i int, number uint32) []string {
	return []string{
		"-netdev", netdev,
		"-device", fmt.Sprintf("pcie-root-port,id=rp%d,slot=%d", i, i+1),
		"-device", fmt.Sprintf("igb,netdev=n%d,bus=rp%d,mac=%s", i, i, mac(0, i, number)),
	}
}

// mac is an address that no other machine of this process or of another one has.
func mac(kind, i int, number uint32) string {
	return fmt.Sprintf("52:%02x:%02x:%02x:%02x:%02x", 0x54+kind, os.Getpid()>>8&0xff, os.Getpid()&0xff, number&0xff, i)
}

func tooMuch(memory int) error {
	return fmt.Errorf("a machine of %d MiB: with more than %d MiB the PFs of QEMU's igb get no interrupt from their VFs", memory, maxMemory)
}
