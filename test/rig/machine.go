package rig

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine says what to boot.
type Machine struct {
	NICs   int    // igb NICs of seven VFs each
	Memory int    // MiB; 0 = 2048; see maxMemory
	Bridge string // each NIC becomes a tap on this bridge; "" = they share a hub of their own
	// Share is a directory of this machine that is /vm in there, read-write. It holds
	// what the script needs; files "script", "boot", "exit" and "initramfs" are the rig's.
	Share string
	// Script is run by bash in there. Its output goes to Output as it comes.
	Script string
	Output io.Writer
}

// maxMemory of a machine, in MiB. With memory above 4 GiB of the address space, which
// q35 has from here on, the PF of QEMU 10.0's igb is not told of its VFs' mailboxes, and
// every VF driver finds it "still in reset state".
const maxMemory = 2048

// Run boots the machine, runs the script and returns its exit code. When ctx ends the
// machine is switched off.
func (m Machine) Run(ctx context.Context) (code int, err error) {
	k, err := findKernel()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	_ = os.Remove(filepath.Join(m.Share, "exit"))
	initramfs := filepath.Join(m.Share, "initramfs")
	if err = writeInitramfs(k, initramfs); err != nil {
		return 0, fmt.Errorf("make the initramfs: %w", err)
	}
	for name, text := range map[string]string{"script": m.Script, "boot": machineBoot} {
		if err = os.WriteFile(filepath.Join(m.Share, name), []byte(text), 0o600); err != nil {
			return 0, err
		}
	}
	args, err := m.args(k, initramfs)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var words strings.Builder
	cmd.Stderr = &words
	if err = cmd.Start(); err != nil {
		return 0, fmt.Errorf("start QEMU: %w", err)
	}
	copyConsole(m.Output, console)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("the machine was switched off: %w", context.Cause(ctx))
	}
	if err != nil {
		return 0, fmt.Errorf("QEMU: %w: %s", err, words.String())
	}
	text, err := os.ReadFile(filepath.Join(m.Share, "exit"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, errors.New("the machine went down before its script ended")
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// copyConsole passes lines on without the carriage returns of a serial line.
func copyConsole(to io.Writer, from io.Reader) {
	sc := bufio.NewScanner(from)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fmt.Fprintln(to, strings.TrimRight(sc.Text(), "\r"))
	}
}

func (m Machine) args(k kernel, initramfs string) ([]string, error) {
	memory := cmp.Or(m.Memory, maxMemory)
	if memory > maxMemory {
		return nil, fmt.Errorf("a machine of %d MiB: with more than %d MiB the PFs of QEMU's igb get no interrupt from their VFs", memory, maxMemory)
	}
	args := []string{
		"-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(memory),
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", k.image, "-initrd", initramfs,
		"-append", "console=ttyS0 panic=-1 quiet intel_iommu=on iommu=pt mitigations=off",
		"-device", "intel-iommu,intremap=on,caching-mode=on",
		"-fsdev", "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap", "-device", "virtio-9p-pci,fsdev=r,mount_tag=root",
		"-fsdev", "local,id=s,path=" + m.Share + ",security_model=none", "-device", "virtio-9p-pci,fsdev=s,mount_tag=share",
	}
	for i := range m.NICs {
		net := fmt.Sprintf("hubport,id=n%d,hubid=7", i)
		if m.Bridge != "" {
			tap, err := m.tap(i)
			if err != nil {
				return nil, err
			}
			net = fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", i, tap)
		}
		args = append(args, "-netdev", net,
			"-device", fmt.Sprintf("pcie-root-port,id=rp%d,slot=%d", i, i+1),
			"-device", fmt.Sprintf("igb,netdev=n%d,bus=rp%d,mac=52:54:00:%02x:%02x:%02x", i, i, os.Getpid()>>8&0xff, os.Getpid()&0xff, i))
	}
	return args, nil
}

// tap makes a port of the bridge; QEMU's end takes it away with it.
func (m Machine) tap(i int) (string, error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return "", fmt.Errorf("%w: %w: apt-get install iproute2", ErrCannot, err)
	}
	name := fmt.Sprintf("rig%d.%d", os.Getpid()%100000, i)
	for _, args := range [][]string{
		{"tuntap", "add", name, "mode", "tap"},
		{"link", "set", name, "master", m.Bridge, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return name, nil
}
