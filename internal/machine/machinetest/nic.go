package machinetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// firstIRQ is the first that a device of these machines gets.
const firstIRQ = 120

// slot puts a card below its root port, as /sys/devices has it, and writes what belongs
// to PCI Express.
func (t *Tree) slot(c Card) {
	above := filepath.Join("sys/devices/pci"+c.Above[:7], c.Above)
	t.express(above, c.Speed, c.Width, c.Payload)
	t.files(above, map[string]string{"vendor": "0x8086", "device": "0x2030", "class": "0x060400", "numa_node": strconv.Itoa(c.NUMA)})
	t.Link("sys/bus/pci/devices/"+c.Above, "../../../devices/pci"+c.Above[:7]+"/"+c.Above)
	if t.err == nil {
		at := filepath.Join(above, c.Slot)
		t.err = os.Rename(t.Device(c.Slot), t.Path(at))
		t.Link("sys/bus/pci/devices/"+c.Slot, "../../../devices/pci"+c.Above[:7]+"/"+c.Above+"/"+c.Slot)
	}
	t.function(c, c.Slot, c.Netdevs, c.Queues)
	t.express(t.rel(c.Slot), c.Speed, c.Width, c.Payload)
	t.files(t.rel(c.Slot), map[string]string{"resource": resource(true), "subsystem_device": c.Subsys, "sriov_offset": strconv.Itoa(c.Offset), "sriov_stride": strconv.Itoa(c.Stride)})
	for i := range c.VFs {
		if !slices.Contains(c.Missing, i) {
			t.function(c, c.VFSlot(i), c.VFNetdevs(i), min(c.Queues, 2))
		}
	}
}

func (t *Tree) rel(slot string) string { return "sys/bus/pci/devices/" + slot }

// resource is that of a PF: one BAR of its own, one of its VFs.
func resource(room bool) string {
	lines := slices.Repeat([]string{"0x0000000000000000 0x0000000000000000 0x0000000000000000"}, 13)
	lines[0] = "0x000000c5e2000000 0x000000c5e3ffffff 0x000000000014220c"
	if room {
		lines[7] = "0x000000c5e8000000 0x000000c5e87fffff 0x000000000014220c"
	}
	return strings.Join(lines, "\n")
}

// NoRoom takes the memory of a PF's VFs away, as firmware does that has SR-IOV off.
func (t *Tree) NoRoom(slot string) { t.Write(t.rel(slot)+"/resource", resource(false)+"\n") }

// express writes the link and a configuration space with a PCI Express capability.
func (t *Tree) express(at, speed string, width, payload int) {
	t.files(at, map[string]string{
		"current_link_speed": speed + " GT/s PCIe", "max_link_speed": speed + " GT/s PCIe",
		"current_link_width": strconv.Itoa(width), "max_link_width": strconv.Itoa(width),
	})
	t.Config(at, payload, payload, 512)
}

// Config writes a configuration space; at is a directory of the machine.
func (t *Tree) Config(at string, payload, possible, read int) {
	code := func(bytes int) int {
		n := 0
		for ; bytes > 128; bytes /= 2 {
			n++
		}
		return n
	}
	c := make([]byte, 4096)
	c[0x06], c[0x34] = 0x10, 0x50 // status: there is a list of capabilities
	c[0x50], c[0x51] = 0x05, 0x60 // MSI
	c[0x60], c[0x61] = 0x10, 0x00 // PCI Express
	c[0x64] = byte(code(possible))
	control := code(payload)<<5 | code(read)<<12
	c[0x68], c[0x69] = byte(control), byte(control>>8)
	t.Write(filepath.Join(at, "config"), string(c))
}

// function writes what a PF and a VF have alike.
func (t *Tree) function(c Card, slot string, netdevs []string, queues int) {
	var local []int
	for _, x := range t.threads() {
		if c.NUMA < 0 || x.node == c.NUMA {
			local = append(local, x.cpu)
		}
	}
	t.files(t.rel(slot), map[string]string{"local_cpulist": list(local), "iommu_group/type": "identity", "subsystem_vendor": "0x15b3"})
	for _, name := range netdevs {
		t.netdev("sys/class/net/"+name, c.Mbit, queues, c.Type)
	}
	for _, name := range irqNames(c, slot, netdevs, queues) {
		t.vector(slot, name, local)
	}
}

func (t *Tree) netdev(at string, mbit, queues, kind int) {
	t.files(at, map[string]string{
		"mtu": "1500", "flags": "0x1003", "carrier": "1", "operstate": "up", "speed": strconv.Itoa(mbit), "duplex": "full", "type": strconv.Itoa(kind),
		"tx_queue_len": "1000", "gro_flush_timeout": "0", "napi_defer_hard_irqs": "0", "ifindex": strconv.Itoa(2 + t.irq),
	})
	zero := strings.ReplaceAll(mask(0, max(len(t.threads()), 1)), "1", "0") // no CPU
	for q := range queues {
		t.files(fmt.Sprintf("%s/queues/rx-%d", at, q), map[string]string{"rps_cpus": zero, "rps_flow_cnt": "0"})
		t.files(fmt.Sprintf("%s/queues/tx-%d", at, q), map[string]string{"xps_cpus": zero, "xps_rxqs": "0", "tx_maxrate": "0"})
	}
}

// irqNames are the names that drivers give their lines.
func irqNames(c Card, slot string, netdevs []string, queues int) []string {
	driver, name := c.Driver, ""
	if slot != c.Slot {
		driver = c.VFDriver
	}
	if len(netdevs) > 0 {
		name = netdevs[0]
	}
	var out []string
	switch driver {
	case "mlx5_core":
		out = append(out, "mlx5_async0@pci:"+slot)
		for q := range queues {
			out = append(out, fmt.Sprintf("mlx5_comp%d@pci:%s", q, slot))
		}
	case "mlx4_core":
		out = append(out, "mlx4-async@pci:"+slot)
		for q := range queues {
			out = append(out, fmt.Sprintf("mlx4-%d@%s", q+1, slot))
		}
	case "igb":
		out = append(out, name)
		for q := range queues {
			out = append(out, fmt.Sprintf("%s-TxRx-%d", name, q))
		}
	case "igbvf":
		out = append(out, name+"-tx-0", name+"-rx-0", name)
	}
	return out
}

// line is one of /proc/interrupts.
type line struct {
	irq  int
	slot string
	at   int // vector of the function
	name string
}

// vector gives a function one more interrupt.
func (t *Tree) vector(slot, name string, local []int) {
	irq := t.irq
	t.irq++
	t.Write(fmt.Sprintf("%s/msi_irqs/%d", t.rel(slot), irq), "msix\n")
	cpu := 0
	if len(local) > 0 {
		cpu = local[irq%len(local)]
	}
	all := len(t.threads())
	t.files(fmt.Sprintf("proc/irq/%d", irq), map[string]string{
		"smp_affinity_list": strconv.Itoa(cpu), "smp_affinity": mask(cpu, all), "effective_affinity_list": strconv.Itoa(cpu),
		"effective_affinity": mask(cpu, all), "affinity_hint": mask(cpu, all), "node": "0",
	})
	t.Write(fmt.Sprintf("proc/irq/%d/%s/uevent", irq, strings.ReplaceAll(name, "/", "!")), "")
}

// mask is one CPU as the kernel writes masks of n.
func mask(cpu, n int) string {
	words := (n + 31) / 32
	var out []string
	for w := words - 1; w >= 0; w-- {
		v := 0
		if cpu/32 == w {
			v = 1 << (cpu % 32)
		}
		digits := 8
		if w == words-1 && n%32 != 0 {
			digits = (n%32 + 3) / 4
		}
		out = append(out, fmt.Sprintf("%0*x", digits, v))
	}
	return strings.Join(out, ",")
}

// interrupts writes /proc/interrupts from the lines that there are.
func (t *Tree) interrupts() {
	var lines []line
	slots, err := os.ReadDir(t.Path("sys/bus/pci/devices"))
	if err != nil {
		t.err = err
		return
	}
	for _, s := range slots {
		vectors, verr := os.ReadDir(t.Path(t.rel(s.Name()), "msi_irqs"))
		if verr != nil {
			continue // a function without interrupts
		}
		for i, v := range vectors {
			irq, _ := strconv.Atoi(v.Name())
			names, nerr := os.ReadDir(t.Path("proc/irq", v.Name()))
			if nerr != nil {
				t.err = nerr
				return
			}
			for _, n := range names {
				if n.IsDir() {
					lines = append(lines, line{irq, s.Name(), i, n.Name()})
				}
			}
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return a.irq - b.irq })
	n := len(t.threads())
	var b strings.Builder
	b.WriteString("           ")
	for cpu := range n {
		fmt.Fprintf(&b, "%-11s", fmt.Sprintf("CPU%d", cpu))
	}
	b.WriteString("\n")
	row := func(head, tail string, busy int) {
		fmt.Fprintf(&b, "%4s:", head)
		for cpu := range n {
			count := 0
			if cpu == busy {
				count = 4711
			}
			fmt.Fprintf(&b, " %10d", count)
		}
		fmt.Fprintf(&b, " %s\n", tail)
	}
	row("0", " IR-IO-APIC    2-edge      timer", 0)
	row("9", " IR-IO-APIC    9-fasteoi   acpi", -1)
	for _, l := range lines {
		cpu, _ := strconv.Atoi(strings.TrimSpace(t.Read(fmt.Sprintf("proc/irq/%d/effective_affinity_list", l.irq))))
		row(strconv.Itoa(l.irq), fmt.Sprintf(" IR-PCI-MSIX-%s %4d-edge      %s", l.slot, l.at, l.name), cpu)
	}
	row("NMI", "  Non-maskable interrupts", -1)
	row("LOC", "  Local timer interrupts", 0)
	fmt.Fprintf(&b, " ERR:          0\n MIS:          0\n")
	t.Write("proc/interrupts", b.String())
}

// management is the NIC that carries the default route.
func (t *Tree) management() {
	p := t.Spec.Port
	at := t.rel(p.Slot)
	t.files(at, map[string]string{"vendor": "0x14e4", "device": "0x165f", "class": "0x020000", "numa_node": "0", "driver_override": "(null)", "local_cpulist": fmt.Sprintf("0-%d", len(t.threads())-1)})
	t.Link(at+"/driver", t.Path("sys/bus/pci/drivers", p.Driver))
	t.Write("sys/bus/pci/drivers/"+p.Driver+"/unbind", "")
	bus := at
	if p.Driver == "virtio-pci" { // the netdev belongs to a device of the virtio bus
		bus += "/virtio0"
		t.Link(bus+"/driver", "../../../../bus/virtio/drivers/virtio_net")
	}
	net := bus + "/net/" + p.Name
	t.files(net, map[string]string{"address": p.MAC, "dev_port": "0"})
	t.Link(net+"/device", t.Path(bus))
	t.Link("sys/class/net/"+p.Name, t.Path(net))
	t.netdev(net, 1000, 1, 1)
	t.vector(p.Slot, p.Name+"-0", nil)
	t.files("sys/class/net/lo", map[string]string{"address": "00:00:00:00:00:00", "mtu": "65536", "flags": "0x9", "type": "772", "carrier": "1"})
	t.Write("proc/net/ipv6_route", "")
	t.Write("proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n")
	if t.err == nil {
		t.err = t.Route(p.Name, "default")
	}
}
