# What runs in the machine: the guests named by GUESTS boot one after the other, each with the
# same VF by VFIO, while a DHCP server on another VF of its VLAN tells what it hears. Lines that begin
# with "guest:" are for the test: the guest's name, seconds since its start, what happened.
set -u

for m in igb igbvf vfio-pci vfio_iommu_type1 kvm_amd; do modprobe $m || exit 99; done
for d in /sys/class/net/*; do
	[ -e $d/device/sriov_numvfs ] && pf=${d##*/}
done
nic=/sys/class/net/$pf/device
echo 2 > $nic/sriov_numvfs && ip link set $pf up || exit 99
ip link set $pf vf 0 mac 02:00:00:00:00:10 vlan 77 spoofchk on || exit 99
ip link set $pf vf 1 mac $MAC vlan 77 spoofchk on || exit 99

# A VF's driver keeps the MAC that it found: the server's is bound again.
slot() { basename $(readlink -f $nic/virtfn$1); }
server=$(slot 0) passed=$(slot 1)
echo $server > /sys/bus/pci/drivers/igbvf/unbind
echo $server > /sys/bus/pci/drivers/igbvf/bind
dev=$(ls $nic/virtfn0/net)
ip addr add 10.77.0.1/24 dev $dev && ip link set $dev up || exit 99

[ -e $nic/virtfn1/driver ] && echo $passed > $nic/virtfn1/driver/unbind
echo vfio-pci > $nic/virtfn1/driver_override
echo $passed > /sys/bus/pci/drivers_probe
[ $(basename $(readlink $nic/virtfn1/driver)) = vfio-pci ] || exit 99

cat > /run/udhcpd.conf <<END
start 10.77.0.50
end 10.77.0.60
interface $dev
lease_file /run/leases
pidfile /run/udhcpd.pid
opt subnet 255.255.255.0
opt lease 3600
static_lease $MAC $ADDRESS
END

mkfifo /run/heard /run/shown || exit 99 # bash's <() wants /dev/fd, which udev makes
say() { echo "guest: $name $((SECONDS - begun)) $*"; }

limit=$LIMIT
for name in $GUESTS; do
	: > /run/leases
	/bin/busybox udhcpd -f /run/udhcpd.conf > /run/heard 2>&1 &
	dhcp=$!
	exec 3< /run/heard
	begun=$SECONDS
	qemu-system-x86_64 -machine q35 -accel kvm -cpu host -smp 1 -m 512 -nodefaults -display none -no-reboot \
		-serial file:/vm/$name.console -device vfio-pci,host=$passed \
		-drive file=/vm/$name.img,format=raw,if=virtio,cache=unsafe \
		-kernel /vm/$name.kernel -initrd /vm/$name.initrd \
		-append "root=/dev/vda ro console=ttyS0 quiet panic=-1 mitigations=off nokaslr systemd.show_status=1 systemd.wants=network-online.target" &
	qemu=$!
	while left=$((limit + begun - SECONDS)); [ $left -gt 0 ] && read -r -t $left -u 3 line; do
		say "$line"
		case $line in
		*"sending ACK"*)
			# The next one is waited for at least that long: see the test.
			limit=$((75 + 2 * (SECONDS - begun)))
			word=silent
			for try in 1 2 3 4 5 6 7 8 9 10; do
				/bin/busybox ping -c 1 -W 6 $ADDRESS > /dev/null && word=answers && break
			done
			say $word
			# Whoever waits for the network, waits for this.
			timeout 120 tail -s 0.2 -n +1 -F /vm/$name.console > /run/shown 2> /dev/null &
			grep -q 'Network is Online' < /run/shown && say online
			kill $!
			break
			;;
		esac
	done
	kill -0 $qemu && say ran || say down
	kill $qemu $dhcp
	wait $qemu
	exec 3<&-
done
