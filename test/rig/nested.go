package rig

import (
	"net/netip"
	"strings"
)

// GuestAppend is the command line of a guest's kernel: with it, and with /dev/kvm, a
// guest in the machine runs its script 5 s after its start. What costs most is text on
// the serial line. What [Address] returns may follow.
const GuestAppend = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr"

// GuestNIC is a [Guest]'s script for one with one NIC. It tells on the console, each line
// alone:
//
//	guest: nic eth0 02:00:00:00:00:10
//	guest: address 10.0.0.5 on eth0
//	guest: ping ok                      (or: guest: ping fail)
//
// The address is taken by DHCP, or from the kernel's command line; see [Address].
const GuestNIC = `
for word in $(cat /proc/cmdline); do
	case $word in
	guest.address=*) address=${word#*=};;
	guest.ping=*) ping=${word#*=};;
	esac
done
tries=0
until nic=$(ls /sys/class/net | grep -v '^lo$' | head -1); [ -n "$nic" ]; do
	tries=$((tries+1)); [ $tries -lt 300 ] || { echo "guest: no nic"; break; }
	sleep 0.1
done
if [ -n "$nic" ]; then
	echo "guest: nic $nic $(cat /sys/class/net/$nic/address)"
	ip link set $nic up
	if [ -n "$address" ]; then
		ip addr add $address dev $nic && echo "guest: address ${address%/*} on $nic"
	else
		until udhcpc -i $nic -s /lease -n -q -f -t 10 -T 2; do sleep 1; done
	fi
	if [ -n "$ping" ]; then
		ping -c 3 -W 2 $ping >/dev/null && echo "guest: ping ok" || echo "guest: ping fail"
	fi
fi
`

// Address is what [GuestNIC] reads from the kernel's command line: the guest's address
// (the zero value means DHCP), and the one it pings (the zero value: none).
func Address(own netip.Prefix, ping netip.Addr) string {
	var words []string
	if own.IsValid() {
		words = append(words, "guest.address="+own.String())
	}
	if ping.IsValid() {
		words = append(words, "guest.ping="+ping.String())
	}
	return strings.Join(words, " ")
}

// GuestArgs are the arguments of a qemu-system-x86_64 that boots a guest inside the
// machine, its console on stdout, with the VFs of these PCI slots (0000:01:10.0), which
// are bound to vfio-pci already. Its memory, 256 MiB, is pinned for the VFs.
//
// It runs under KVM, which the machine has by the SVM of its emulated CPU: emulation
// within emulation takes more than two minutes for the same.
func GuestArgs(image, initramfs, address string, slots ...string) []string {
	args := []string{
		"-machine", "q35", "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "256",
		"-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", image, "-initrd", initramfs, "-append", strings.TrimSpace(GuestAppend + " " + address),
	}
	for _, slot := range slots {
		args = append(args, "-device", "vfio-pci,host="+slot)
	}
	return args
}
