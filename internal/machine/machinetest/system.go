package machinetest

import (
	"fmt"
	"strings"
)

// system writes what is about the operating system.
func (t *Tree) system() {
	s := t.Spec
	t.Write("usr/lib/os-release", s.OSRelease)
	t.Link("etc/os-release", "../usr/lib/os-release")
	t.Write("etc/fstab", "UUID=6f1c1e0e-0000-4000-8000-000000000001 / ext4 errors=remount-ro 0 1\n")
	t.Write("proc/cmdline", s.Line+"\n")
	t.Write("proc/version", "Linux version "+s.Kernel+"\n")
	t.Write("proc/sys/kernel/osrelease", s.Kernel+"\n")
	t.Write("sys/class/dmi/id/sys_vendor", s.Product[0]+"\n")
	t.Write("sys/class/dmi/id/product_name", s.Product[1]+"\n")
	t.Write("dev/kvm", "")
	t.loader()
	var modules strings.Builder
	for _, m := range s.Modules {
		fmt.Fprintf(&modules, "%s 131072 0 - Live 0x0000000000000000\n", m)
		t.Write("sys/module/"+m+"/initstate", "live\n")
	}
	t.Write("proc/modules", modules.String())
	t.parameters()
	for _, p := range s.Programs {
		t.Write(p, "")
	}
	for _, name := range s.Services {
		t.Service(name, true, true)
	}
	t.Write("sys/firmware/acpi/tables/FACP", "")
	t.Write("sys/firmware/acpi/tables/DSDT", "")
	if s.Table != "" {
		t.Write("sys/firmware/acpi/tables/"+s.Table, "")
	}
	for _, u := range s.Units {
		t.Write("sys/class/iommu/"+u+"/uevent", "")
	}
	t.sysctls()
}

// parameters writes those of modules that are looked at.
func (t *Tree) parameters() {
	values := map[string]map[string]string{
		"mlx4_core": {"probe_vf": t.probed(), "port_type_array": "2,2", "log_num_mgm_entry_size": "-1", "enable_64b_cqe_eqe": "Y", "enable_4k_uar": "N"},
		"kvm_intel": {"nested": "Y"}, "kvm_amd": {"nested": "1"},
		"vfio_pci":         {"disable_vga": "N", "ids": ""},
		"vfio_iommu_type1": {"allow_unsafe_interrupts": "N"},
		"vfio":             {"enable_unsafe_noiommu_mode": "N"},
	}
	for _, m := range t.Spec.Modules {
		t.files("sys/module/"+m+"/parameters", values[m])
	}
}

// probed is the probe_vf of mlx4 cards that drive all of their VFs.
func (t *Tree) probed() string {
	for _, c := range t.Spec.Cards {
		if c.Driver == "mlx4_core" {
			return fmt.Sprintf("%d,%d,%d", c.Triplet[0], c.Triplet[1], c.Triplet[2])
		}
	}
	return ""
}

func (t *Tree) loader() {
	s := t.Spec
	_, args, _ := strings.Cut(s.Line, " ro ")
	switch s.Loader {
	case "grub":
		t.Write("etc/default/grub", "# If you change this file, run 'update-grub' afterwards to update\n# /boot/grub/grub.cfg.\n\n"+
			"GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"+
			"GRUB_CMDLINE_LINUX_DEFAULT=\""+args+"\"\nGRUB_CMDLINE_LINUX=\"\"\n")
		t.Write("boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux "+strings.TrimPrefix(s.Line, "BOOT_IMAGE=")+"\n}\n")
		t.Write("usr/sbin/update-grub", "#!/bin/sh\nset -e\nexec grub-mkconfig -o /boot/grub/grub.cfg \"$@\"\n")
	case "grub-bls":
		t.Write("etc/default/grub", "GRUB_TIMEOUT=5\nGRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/system-release)\"\nGRUB_DEFAULT=saved\n"+
			"GRUB_DISABLE_SUBMENU=true\nGRUB_TERMINAL_OUTPUT=\"console\"\nGRUB_CMDLINE_LINUX=\""+args+"\"\nGRUB_DISABLE_RECOVERY=\"true\"\nGRUB_ENABLE_BLSCFG=true\n")
		t.Write("boot/loader/entries/0123456789abcdef0123456789abcdef-"+s.Kernel+".conf",
			"title Red Hat Enterprise Linux ("+s.Kernel+") 9.5 (Plow)\nversion "+s.Kernel+"\nlinux /vmlinuz-"+s.Kernel+
				"\ninitrd /initramfs-"+s.Kernel+".img $tuned_initrd\noptions root=/dev/mapper/rhel-root ro "+args+"\ngrub_users $grub_users\ngrub_arg --unrestricted\ngrub_class rhel\n")
	case "systemd-boot":
		t.Write("boot/loader/loader.conf", "timeout 3\n")
		t.Write("etc/kernel/cmdline", "root=UUID=6f1c1e0e-0000-4000-8000-000000000001 ro "+args+"\n")
		t.Write("sys/firmware/efi/fw_platform_size", "64\n")
	}
}

// sysctls are the kernel's defaults.
func (t *Tree) sysctls() {
	t.files("proc/sys/net/core", map[string]string{
		"rmem_max": "212992", "wmem_max": "212992", "rmem_default": "212992", "wmem_default": "212992", "optmem_max": "20480",
		"netdev_max_backlog": "1000", "netdev_budget": "300", "netdev_budget_usecs": "8000", "somaxconn": "4096", "busy_poll": "0",
		"busy_read": "0", "default_qdisc": "fq_codel", "rps_sock_flow_entries": "0",
	})
	t.files("proc/sys/net/ipv4", map[string]string{
		"tcp_rmem": "4096\t131072\t6291456", "tcp_wmem": "4096\t16384\t4194304", "tcp_timestamps": "1", "tcp_sack": "1", "ip_forward": "0",
		"tcp_congestion_control": "cubic", "tcp_mtu_probing": "0", "tcp_slow_start_after_idle": "1",
		"conf/all/accept_redirects": "1", "conf/all/send_redirects": "1", "conf/default/accept_redirects": "1", "conf/default/send_redirects": "1",
	})
	t.files("proc/sys/net/ipv6/conf", map[string]string{"all/forwarding": "0", "default/forwarding": "0", "all/accept_ra": "1"})
	t.files("proc/sys/kernel", map[string]string{
		"numa_balancing": map[bool]string{true: "1", false: "0"}[t.nodes() > 1], "watchdog": "1", "nmi_watchdog": "1", "sched_rt_runtime_us": "950000", "timer_migration": "1",
	})
	t.files("proc/sys/vm", map[string]string{"swappiness": "60", "zone_reclaim_mode": "0", "stat_interval": "1", "nr_hugepages": "0"})
}
