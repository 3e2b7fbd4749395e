package machine

import "strings"

// Boot loaders, by where the kernel's command line is kept.
const (
	GRUB        = "grub"         // /etc/default/grub, then update-grub or grub2-mkconfig
	GRUBBLS     = "grub-bls"     // one entry per kernel in /boot/loader/entries, changed by grubby
	SystemdBoot = "systemd-boot" // /etc/kernel/cmdline, then kernel-install
)

// Boot is how the machine boots.
type Boot struct {
	Loader string // "" = none of those above was found
	EFI    bool
	// File is where words are added to the kernel's command line; Rebuild is the command
	// that then makes it take effect.
	File, Rebuild string
	// Initramfs is the command that makes the initial RAM disk anew.
	Initramfs string
}

// blsWord is in /etc/default/grub where GRUB takes the entries of the boot loader
// specification.
const blsWord = "GRUB_ENABLE_BLSCFG=true"

func (t Tree) boot(o OS) Boot {
	b := Boot{EFI: t.Exists("sys/firmware/efi")}
	grub, hasGRUB := t.Text("etc/default/grub")
	switch {
	case hasGRUB && o.Family == RedHat && strings.Contains(grub, blsWord) && len(t.Names("boot/loader/entries")) > 0:
		b.Loader, b.File, b.Rebuild = GRUBBLS, "/etc/default/grub", "grubby --update-kernel=ALL --args="
	case hasGRUB && o.Family == Debian:
		b.Loader, b.File, b.Rebuild = GRUB, "/etc/default/grub", "update-grub"
	case hasGRUB:
		b.Loader, b.File, b.Rebuild = GRUB, "/etc/default/grub", "grub2-mkconfig -o /boot/grub2/grub.cfg"
	case t.systemdBoot():
		b.Loader, b.File, b.Rebuild = SystemdBoot, "/etc/kernel/cmdline", "kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r)"
	}
	switch o.Family {
	case Debian:
		b.Initramfs = "update-initramfs -u"
	case RedHat, SUSE:
		b.Initramfs = "dracut --force"
	}
	return b
}

func (t Tree) systemdBoot() bool {
	for _, esp := range []string{"boot", "efi", "boot/efi"} {
		if t.Exists(esp, "loader/loader.conf") || t.Exists(esp, "EFI/systemd/systemd-bootx64.efi") {
			return true
		}
	}
	return t.Exists("etc/kernel/cmdline")
}
