package guest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"neutrino/internal/hostcheck"
	"neutrino/internal/ledger/ledgertest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var everyDriver = "kernel/a/virtio_net.ko.xz:\nkernel/a/igbvf.ko.xz:\nkernel/a/ixgbevf.ko.xz:\nkernel/a/iavf.ko.xz:\nkernel/a/mlx4_core.ko.xz:\nkernel/a/mlx4_en.ko.xz:\nkernel/a/mlx5_core.ko.xz:\n"

// trees are what guests have, by name; modelled on the distributions' packages.
var trees = map[string]map[string]string{
	"debian-ifupdown": {
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "etc/network/interfaces": "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n",
		"usr/sbin/ifup": "", "usr/sbin/update-initramfs": "", "lib/modules/6.1.0-28-amd64/modules.dep": everyDriver, "usr/lib/systemd/systemd": "",
	},
	"debian-old-interfaces": {
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "etc/network/interfaces": "auto eth0\niface eth0 inet dhcp",
		"sbin/ifup": "", "lib/modules/6.1.0-28-amd64/modules.dep": everyDriver,
	},
	"ubuntu-netplan": {
		"etc/os-release": "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n", "usr/sbin/netplan": "", "etc/netplan/50-cloud-init.yaml": "network: {}\n",
		"usr/sbin/update-initramfs": "", "lib/modules/6.8.0-45-generic/modules.dep": everyDriver, "usr/bin/cloud-init": "",
	},
	"debian-cloud-networkd": {
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "",
		"usr/sbin/update-initramfs": "", "usr/lib/modules/6.1.0-28-cloud-amd64/modules.dep": "kernel/a/iavf.ko:\nkernel/a/mlx5_core.ko:\n", "usr/lib/modules/6.1.0-28-cloud-amd64/modules.builtin": "kernel/drivers/net/virtio_net.ko\n",
	},
	"rhel-networkmanager": {
		"etc/os-release": "ID=\"rhel\"\nVERSION_ID=\"9.5\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 9.5 (Plow)\"\n", "usr/sbin/NetworkManager": "", "usr/bin/dracut": "",
		"lib/modules/5.14.0-503.el9.x86_64/modules.dep": everyDriver,
	},
	"suse-wicked": {
		"etc/os-release": "ID=\"sles\"\nVERSION_ID=\"15.6\"\nPRETTY_NAME=\"SUSE Linux Enterprise Server 15 SP6\"\n", "usr/sbin/wickedd": "", "usr/bin/dracut": "",
		"lib/modules/6.4.0-150600.21-default/modules.dep": everyDriver,
	},
}

func plant(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func listing(t testing.TB, root string) map[string]string {
	t.Helper()
	return ledgertest.Snapshot(t, root, nil)
}

func same(t testing.TB, before, after map[string]string) {
	t.Helper()
	if s := ledgertest.Diff(before, after); s != "" {
		t.Error(s)
	}
}

// TestFixThenUndoIsNothing on every tree; between them the files are as the golden ones.
func TestFixThenUndoIsNothing(t *testing.T) {
	for name, tree := range trees {
		t.Run(name, func(t *testing.T) {
			root := plant(t, tree)
			before := listing(t, root)
			f, err := Plan(root, false)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s; %v; %s\n", f.Facts.OS.Name, f.Facts.Managers, f.Facts.Initramfs)
			for _, d := range f.Diffs {
				fmt.Fprintf(&b, "== /%s %o (%s)\n%s", d.Path, d.Want.Mode, d.Why, d.Want.Data)
			}
			for _, n := range f.Notes {
				fmt.Fprintf(&b, "note: %s\n", n)
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err = errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(b.String()), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || b.String() != string(want) {
				t.Errorf("%v: the plan is\n%s\nwant\n%s", err, b.String(), want)
			}
			same(t, before, listing(t, root))
			if err = f.Run(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			again, err := Plan(root, false)
			if err != nil || !again.Nothing() {
				t.Errorf("once more: %+v, %v", again, err)
			}
			if _, err = Undo(t.Context(), root, false, nil); err != nil {
				t.Fatal(err)
			}
			same(t, before, listing(t, root))
		})
	}
}

func TestNoGuest(t *testing.T) {
	outside := plant(t, map[string]string{"os-release": "ID=debian\n", "secret": "s"})
	root := t.TempDir()
	for name, make := range map[string]func() string{
		"empty":   func() string { return root },
		"missing": func() string { return filepath.Join(root, "none") },
		"led out": func() string {
			dir := plant(t, map[string]string{"x": ""})
			if err := os.Symlink(outside, filepath.Join(dir, "etc")); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		if f, err := Plan(make(), false); !errors.Is(err, ErrNoGuest) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	// A link on the way to one of our files leads out of the tree.
	dir := plant(t, trees["debian-ifupdown"])
	if err := os.Symlink(outside, filepath.Join(dir, "etc/modules-load.d")); err != nil {
		t.Fatal(err)
	}
	f, err := Plan(dir, false)
	if err == nil {
		err = f.Run(t.Context(), nil)
	}
	if err == nil || len(listing(t, outside)) != 3 {
		t.Errorf("%v; outside: %v", err, listing(t, outside))
	}
}

// TestRealDebian: a tree of Debian's own packages, whose initial RAM disk has the drivers afterwards.
func TestRealDebian(t *testing.T) {
	if os.Getenv("NEUTRINO_GUEST") == "" {
		t.Skip("make test-guest runs it: a tree of Debian's packages is made")
	}
	mmdebstrap, err := exec.LookPath("mmdebstrap")
	if err != nil || os.Geteuid() != 0 {
		t.Fatal("mmdebstrap and root are needed", err)
	}
	root := filepath.Join(t.TempDir(), "debian")
	out, err := exec.Command(mmdebstrap, "--variant=apt", "--mode=root", "--include=linux-image-cloud-amd64,initramfs-tools,ifupdown,udev,kmod", "bookworm", root).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := listing(t, root)
	f, err := Plan(root, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Programs) != 1 || len(f.Facts.Kernels) != 1 || !slices.Contains(f.Facts.Managers, Ifupdown) {
		t.Fatalf("%+v", f)
	}
	if err = f.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{modulesFile: "mlx5_core", hookFile: "manual_add_modules", udevFile: "mlx4_en", stanzaFile: "allow-hotplug /en*"} {
		if data, rerr := os.ReadFile(filepath.Join(root, name)); rerr != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, %s", name, rerr, data)
		}
	}
	images, err := filepath.Glob(filepath.Join(root, "boot/initrd.img-*"))
	if err != nil || len(images) != 1 {
		t.Fatal(images, err)
	}
	chroot, err := exec.LookPath("chroot")
	if err != nil {
		t.Fatal(err)
	}
	inImage, err := exec.Command(chroot, root, "lsinitramfs", "/boot/"+filepath.Base(images[0])).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Facts.Kernels[0].Drivers {
		if !strings.Contains(string(inImage), "/"+d+".ko") {
			t.Errorf("%s is not in the initial RAM disk", d)
		}
	}
	if _, err = Undo(t.Context(), root, false, nil); err != nil {
		t.Fatal(err)
	}
	same(t, before, listing(t, root))
}

// TestCloudConfigIsOne: well-formed, and cloud-init's own schema takes it.
func TestCloudConfigIsOne(t *testing.T) {
	for _, which := range []Manager{Networkd, NetworkManager, Netplan, Ifupdown} {
		f, err := FactsFor(which, "initramfs-tools")
		if err != nil {
			t.Fatal(err)
		}
		text, err := CloudConfig(f)
		if err != nil || !strings.HasPrefix(text, "#cloud-config\n") {
			t.Fatal(err, text)
		}
		var c cloudConfig
		if err = yaml.Unmarshal([]byte(text), &c); err != nil || len(c.WriteFiles) < 4 {
			t.Errorf("%v: %s", err, text)
		}
		cloudInit, err := exec.LookPath("cloud-init")
		if err != nil {
			if os.Getenv("NEUTRINO_STRICT") != "" {
				t.Fatal("cloud-init is needed")
			}
			t.Skip("cloud-init is needed to hold it against the schema")
		}
		file := filepath.Join(t.TempDir(), "user-data")
		if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, serr := exec.Command(cloudInit, "schema", "--config-file", file).CombinedOutput(); serr != nil {
			t.Errorf("%s: %v: %s", which, serr, out)
		}
	}
	if _, err := FactsFor("ifconfig", ""); err == nil {
		t.Error("ifconfig is a manager")
	}
}

func worst(r hostcheck.Report, check string) hostcheck.Finding {
	out := hostcheck.Finding{Status: hostcheck.OK}
	for _, f := range r.Findings {
		if f.Check == check && (f.Status.Worse(out.Status) || out.Check == "") {
			out = f
		}
	}
	return out
}

// TestJudge: each thing that keeps an address away is found by its name.
func TestJudge(t *testing.T) {
	good := func() Situation {
		return Situation{Kernel: "6.1", Root: true, Fixed: true, Managers: []string{"systemd-networkd"}, NICs: []NIC{{
			Slot: "0000:00:05.0", Vendor: 0x8086, Device: 0x10ca, Driver: "igbvf", Name: "ens5", MAC: "fa:16:3e:00:00:01", BurntIn: "fa:16:3e:00:00:01",
			Up: true, Carrier: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")},
		}}}
	}
	if r := Judge(good()); r.Worst != hostcheck.OK {
		t.Errorf("a good guest: %+v", r)
	}
	for name, x := range map[string]struct {
		spoil              func(*Situation)
		check, says, mends string
	}{
		"no NIC":      {func(s *Situation) { s.NICs = nil }, "NIC", "PCI bus", "port show"},
		"no driver":   {func(s *Situation) { s.NICs[0].Driver, s.NICs[0].Name = "", "" }, "driver", "has none for it", "kernel"},
		"not loaded":  {func(s *Situation) { s.NICs[0].Driver, s.NICs[0].Name, s.NICs[0].Modules = "", "", []string{"igbvf"} }, "driver", "igbvf would drive it", "modprobe igbvf"},
		"no netdev":   {func(s *Situation) { s.NICs[0].Name = "" }, "driver", "no network device", "dmesg"},
		"another MAC": {func(s *Situation) { s.NICs[0].MAC = "fa:16:3e:00:00:02" }, "MAC", "the host gave it fa:16:3e:00:00:01", "address fa:16:3e:00:00:01"},
		"down":        {func(s *Situation) { s.NICs[0].Up = false }, "link", "is down", "ip link set ens5 up"},
		"no carrier":  {func(s *Situation) { s.NICs[0].Carrier = false }, "link", "no carrier", "vf list"},
		"no answer": {func(s *Situation) {
			s.NICs[0].Addresses, s.NICs[0].Offer = nil, &Offer{Err: errors.New("nobody answered within 10s")}
		}, "address", "nobody answered", "fabric verify"},
		"no client": {func(s *Situation) {
			s.NICs[0].Addresses, s.NICs[0].Offer, s.Managers = nil, &Offer{Took: time.Second}, nil
		}, "address", "no DHCP client", "guest fix"},
		"not this name": {func(s *Situation) { s.NICs[0].Addresses, s.NICs[0].Offer = nil, &Offer{Took: time.Second} }, "address", "did not take it", "guest fix"},
	} {
		s := good()
		x.spoil(&s)
		f := worst(Judge(s), x.check)
		if f.Status != hostcheck.Fail || !strings.Contains(f.Evidence, x.says) || !strings.Contains(f.Mend, x.mends) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	s := good()
	s.Clients = []string{"dhclient (pid 7)"}
	if f := worst(Judge(s), "DHCP clients"); f.Status != hostcheck.Warn {
		t.Errorf("two clients: %+v", f)
	}
	s = good()
	s.NICs[0].Addresses, s.Root = nil, false
	if f := worst(Judge(s), "address"); f.Status != hostcheck.Unknown {
		t.Errorf("without root: %+v", f)
	}
}

// TestObserveHere runs on whatever this machine is.
func TestObserveHere(t *testing.T) {
	s, err := Observe(context.Background(), Ask{})
	if err != nil || s.Kernel == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	_ = Judge(s)
}

// TestAnyTree: whatever is in it, there is a plan or an error, and nothing is written.
func TestAnyTree(t *testing.T) {
	names := []string{"etc/os-release", "usr/lib/os-release", "usr/sbin/ifup", "etc/network/interfaces", "usr/sbin/NetworkManager", "lib/modules/1/modules.dep", "usr/bin/dracut", "etc/netplan/x", "usr/sbin/netplan"}
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		root := filepath.Join(base, fmt.Sprint(n))
		for _, name := range names {
			p := filepath.Join(root, name)
			_ = os.MkdirAll(filepath.Dir(p), 0o755)
			switch rapid.SampledFrom([]string{"no", "file", "link", "dir"}).Draw(rt, name) {
			case "file":
				_ = os.WriteFile(p, []byte(rapid.String().Draw(rt, "text")), 0o644)
			case "link":
				_ = os.Symlink(rapid.SampledFrom([]string{"/etc/passwd", "../..", "loop"}).Draw(rt, "to"), p)
			case "dir":
				_ = os.MkdirAll(p, 0o755)
			}
		}
		before := listing(t, root)
		if f, err := Plan(root, false); err == nil && len(f.Files) < 2 {
			rt.Fatalf("%+v", f)
		}
		if after := listing(t, root); !maps.Equal(before, after) {
			rt.Fatalf("%v became %v", before, after)
		}
	})
}
