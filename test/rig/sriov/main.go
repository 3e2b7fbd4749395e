package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"neutrino/test/rig"
)

// packages with rig tests; those that have none are passed over. The rig proves itself
// first.
var packages = []string{
	"test/rig", "internal/vfnl", "internal/pci", "internal/hostprep", "internal/hostcheck", "internal/tune", "internal/bench/paths", "internal/eswitch/sriov", "internal/probe", "internal/libvirt", "internal/plug", "test/sriov",
}

const deadline = 25 * time.Minute

func main() {
	bench := flag.Bool("bench", false, "run the benchmarks in place of the tests")
	run := flag.String("run", os.Getenv("RIG_RUN"), "only tests whose name matches")
	own := flag.String("script", "", "run this shell script in the machine in place of the tests")
	flag.Parse()
	if flag.NArg() > 0 {
		packages = flag.Args()
	} else if p := os.Getenv("RIG_PKGS"); p != "" {
		packages = strings.Fields(p)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("it took longer than %s", deadline))
	defer cancel()
	if err := endWithParent(); err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
	if err := rig.Check(ctx); err != nil {
		fmt.Println("SKIP:", err)
		if strict() {
			os.Exit(1)
		}
		return
	}
	if err := all(ctx, *bench, *run, *own); err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
}

func all(ctx context.Context, bench bool, match, own string) (err error) {
	begun := time.Now()
	share, err := newShare(os.TempDir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(share)) }()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	var script string
	if own != "" {
		text, rerr := os.ReadFile(own)
		if rerr != nil {
			return rerr
		}
		script = setUp + string(text)
	} else if script, err = prepare(ctx, root, share, bench, match); err != nil {
		return err
	}
	fmt.Printf("=== built in %.1f s\n", time.Since(begun).Seconds())
	t := &tally{to: os.Stdout}
	for again := 2; ; again-- {
		code, err := rig.Machine{NICs: 2, Share: share, Script: t.left(script), Output: t}.Run(ctx)
		if rig.EmulatorFailed(err) && again > 0 {
			fmt.Println("=== AGAIN:", err)
			t.again()
			continue
		}
		if err != nil {
			return errors.Join(err, t.verdict(0))
		}
		return t.verdict(code)
	}
}

// prepare builds what runs in the machine, and writes its script.
func prepare(ctx context.Context, root, share string, bench bool, match string) (string, error) {
	if err := command(ctx, "go", "build", "-trimpath", "-o", filepath.Join(share, "neutrino"), "./cmd/neutrino"); err != nil {
		return "", err
	}
	n := 0
	var s strings.Builder
	s.WriteString(setUp)
	for _, pkg := range packages {
		names, err := find(filepath.Join(root, pkg), bench, match)
		if err != nil {
			return "", err
		}
		if len(names) == 0 {
			continue
		}
		n += len(names)
		file := strings.ReplaceAll(pkg, "/", "-") + ".test"
		if err = command(ctx, "go", "test", "-c", "-o", filepath.Join(share, file), "./"+pkg); err != nil {
			return "", err
		}
		what := "-test.run '^(" + strings.Join(names, "|") + ")$'"
		if bench {
			what = "-test.run '^$' -test.bench '^(" + strings.Join(names, "|") + ")$' -test.benchtime 1s"
		}
		fmt.Fprintf(&s, "package neutrino/%s %s /vm/%s -test.v -test.timeout 10m %s\n", pkg, filepath.Join(root, pkg), file, what)
	}
	if n == 0 {
		return "", errors.New("there is nothing to run")
	}
	s.WriteString("exit $failed\n")
	return s.String(), nil
}

// cannotSetUp is the exit code of setUp.
const cannotSetUp = 99

// setUp loads the drivers, and makes VFs. Before each package it makes them anew where a
// PF's are not at rest: no package finds what another left of them. (Not everywhere: the
// drivers of fourteen VFs take several seconds.)
const setUp = `
failed=0
at_rest() {
	[ $(cat $d/sriov_numvfs) = 7 ] || return
	for vf in $d/virtfn*; do [ -e $vf/driver/module/drivers/pci:igbvf -a -n "$(ls $vf/net 2>/dev/null)" ] || return; done
	! ip -d link show $pf | grep -qE 'vlan [1-9]|spoof checking off|trust on|max_tx_rate'
}
vfs() {
	for pf in ${pfs//,/ }; do
		d=/sys/class/net/$pf/device
		ip link set $pf up
		at_rest && continue
		echo 0 > $d/sriov_numvfs && echo 7 > $d/sriov_numvfs && ip link set $pf up || exit 99
	done
}
package() {
	name=$1 dir=$2; shift 2
	echo "=== PACKAGE $name"
	start=$(date +%s%N)
	vfs
	cd "$dir"
	if "$@"; then word=ok; else word=FAIL; failed=$((failed+1)); dmesg | tail -40; fi
	ms=$((($(date +%s%N)-start)/1000000))
	printf '%s\t%s\t%d.%03ds\n' $word $name $((ms/1000)) $((ms%1000))
}
for m in igb igbvf vfio-pci vfio_iommu_type1 macvtap 8021q tun bridge kvm_amd; do modprobe $m || exit 99; done
pfs=
for d in /sys/class/net/*; do
	[ -e $d/device/sriov_numvfs ] || continue
	pf=${d##*/}
	pfs=$pfs${pfs:+,}$pf
done
[ -n "$pfs" ] || exit 99
vfs
export NEUTRINO_SRIOV_PFS=$pfs NEUTRINO_BIN=/vm/neutrino
echo "=== $(uname -r), PFs $pfs, ready $(cut -d' ' -f1 /proc/uptime) s after the kernel's start"
`

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
