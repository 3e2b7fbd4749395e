package libvirt_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	rpc "github.com/digitalocean/go-libvirt"
)

// A guest that boots Linux with nothing in it but busybox. It answers hot-unplug: that
// is the kernel's own doing (acpiphp, pciehp).
const guestInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /dev
/bin/busybox mount -t devtmpfs dev /dev
echo guest is up >/dev/ttyS0
while :; do /bin/busybox sleep 3600; done
`

var initrd = sync.OnceValues(func() ([]byte, error) {
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, f := range []struct {
		name string
		mode int
		data []byte
	}{{"bin", 0o40755, nil}, {"bin/busybox", 0o100755, box}, {"init", 0o100755, []byte(guestInit)}, {"TRAILER!!!", 0, nil}} {
		// Documentation/driver-api/early-userspace/buffer-format.rst, "newc".
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		b.WriteString(f.name + "\x00")
		pad := func() { b.Write(make([]byte, -b.Len()&3)) }
		pad()
		b.Write(f.data)
		pad()
	}
	return b.Bytes(), nil
})

// boot is the <os> of a guest whose Linux answers, and its console's file.
func boot(t testing.TB, dir string) (os_, console string) {
	t.Helper()
	kernels, _ := filepath.Glob("/boot/vmlinuz-*")
	if len(kernels) == 0 {
		t.Skip("no kernel in /boot for a guest: apt-get install linux-image-amd64")
	}
	slices.Sort(kernels)
	rd, err := initrd()
	if err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	path := filepath.Join(dir, "initrd")
	if err = os.WriteFile(path, rd, 0o644); err != nil {
		t.Fatal(err)
	}
	console = filepath.Join(dir, t.Name()+".console")
	return fmt.Sprintf("<kernel>%s</kernel><initrd>%s</initrd><cmdline>console=ttyS0 quiet panic=-1 mitigations=off</cmdline>",
		kernels[len(kernels)-1], path), console
}

// domainXML is a small domain. interfaces are elements of it.
func domainXML(name, osText, console string, interfaces ...string) string {
	serial := ""
	if console != "" {
		serial = fmt.Sprintf("<serial type='file'><source path='%s'/></serial>", console)
	}
	kind := "qemu"
	if os.Getenv("NEUTRINO_SRIOV_PFS") != "" {
		kind = "kvm" // the rig's machine has it, and emulation in it takes minutes
	}
	return fmt.Sprintf(`<domain type='%s'><name>%s</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>%s</os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<controller type='pci' model='pcie-root'/>%s
<controller type='usb' model='none'/><memballoon model='none'/><video><model type='none'/></video>%s%s</devices></domain>`,
		kind, name, osText, strings.Repeat("<controller type='pci' model='pcie-root-port'/>", 4), serial, strings.Join(interfaces, ""))
}

// admin is a connection of the test's own, for what neutrino never does: define, start
// and destroy domains.
type admin struct {
	t testing.TB
	l *rpc.Libvirt
}

func administer(t testing.TB, d *daemon) *admin {
	t.Helper()
	a := &admin{t: t, l: connectTo(t, filepath.Join(d.dir, "libvirt-sock"))}
	t.Cleanup(func() { _ = a.l.Disconnect() })
	return a
}

func (a *admin) define(xml string) rpc.Domain {
	a.t.Helper()
	d, err := a.l.DomainDefineXML(xml)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		_ = a.l.DomainDestroy(d)
		_ = a.l.DomainUndefine(d)
	})
	return d
}

func (a *admin) start(d rpc.Domain, flags rpc.DomainCreateFlags) {
	a.t.Helper()
	if _, err := a.l.DomainCreateWithFlags(d, uint32(flags)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *admin) do(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}
