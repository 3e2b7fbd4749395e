package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Host is a machine with a disk of its own, which boots from it as a server does. What is
// on the disk is the caller's.
type Host struct {
	Disk   string // a raw image; it is written to
	NICs   int    // igb NICs of seven VFs each, on a hub of their own
	Memory int    // MiB; 0 = 1024; see maxMemory
	AMD    bool   // an IOMMU of AMD's; else one of Intel's
	// Kernel, Initrd and Append boot a kernel past the disk's boot loader.
	Kernel, Initrd, Append string
	// Share is a directory of this machine that its kernel finds as the 9p file system
	// "share". Files "alive" and "monitor" in it are the rig's.
	Share string
	// Port is a Unix socket of the caller's, which listens: it is connected to the virtio
	// port "hand" in there as long as the machine runs.
	Port string
	// Output takes what the machine writes on its serial line.
	Output io.Writer
	// StillFor is after how long without a line on the console, or a change of the file
	// "alive", the machine counts as frozen.
	StillFor time.Duration
}

// HostArgs are for the command line of a Host's kernel: without them it does not stand
// the emulation for long. See kernelArgs.
const HostArgs = "console=ttyS0 panic=-1 no_timer_check nohz=off highres=off mitigations=off"

// PowerCut, written to the I/O port PowerPort of a Host, takes its power away between two instructions. A
// reset by the kernel (sysrq b) stands still in the emulation now and then.
const (
	PowerPort = 0xf4
	PowerCut  = 0x2a
)

// powerIsCut: QEMU ends with twice the value and one (hw/misc/debugexit.c).
func powerIsCut(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == PowerCut<<1|1
}

// Run boots the machine, and returns when it goes down, be it to boot again, by a reset or
// for good: to boot it again is to run it again. Resets that QEMU does itself leave its
// processors halted in the BIOS now and then. When ctx ends the machine is switched off.
// Errors are those of Machine.Run.
func (h Host) Run(ctx context.Context) error {
	args, err := h.args()
	if err != nil {
		return err
	}
	alive := filepath.Join(h.Share, "alive")
	if err = os.WriteFile(alive, nil, 0o600); err != nil {
		return err
	}
	out := &lively{to: h.Output, sign: alive}
	return emulator{args: args, share: h.Share, output: out, stillFor: h.StillFor}.run(ctx)
}

// lively gives a sign of life for each line.
type lively struct {
	to   io.Writer
	sign string
}

func (l *lively) Write(line []byte) (int, error) {
	now := time.Now()
	if err := os.Chtimes(l.sign, now, now); err != nil {
		return 0, fmt.Errorf("give a sign of life: %w", err)
	}
	return l.to.Write(line)
}

// args are QEMU's. The MACs are the same each time: nobody else is on the wires.
func (h Host) args() ([]string, error) {
	memory := cmp.Or(h.Memory, 1024)
	if memory > maxMemory {
		return nil, tooMuch(memory)
	}
	iommu := "intel-iommu,intremap=on,caching-mode=on"
	if h.AMD {
		iommu = "amd-iommu,intremap=on"
	}
	args := []string{
		// Without graphics the BIOS, and a boot loader that finds no configuration, speak on the serial line.
		"-machine", "q35,kernel-irqchip=split,graphics=off", "-accel", "tcg,thread=multi", "-cpu", cpu, "-smp", "2", "-m", strconv.Itoa(memory),
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-monitor", "unix:" + filepath.Join(h.Share, "monitor") + ",server=on,wait=off",
		"-device", iommu,
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=1", PowerPort),
		"-drive", "file=" + h.Disk + ",format=raw,if=none,id=disk,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,drive=disk",
		"-fsdev", "local,id=s,path=" + h.Share + ",security_model=none", "-device", "virtio-9p-pci,fsdev=s,mount_tag=share",
		"-chardev", "socket,id=hand,path=" + h.Port, "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=hand,name=hand",
		"-netdev", "user,id=mgmt,restrict=on", "-device", "virtio-net-pci,netdev=mgmt,mac=" + mac(1, 0, 0),
	}
	if h.Kernel != "" {
		args = append(args, "-kernel", h.Kernel, "-initrd", h.Initrd, "-append", h.Append)
	}
	for i := range h.NICs {
		args = append(args, sriovNIC(fmt.Sprintf("hubport,id=n%d,hubid=7", i), i, 0)...)
	}
	return args, nil
}
