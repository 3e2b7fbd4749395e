package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPU is the processors of a machine.
type CPU struct {
	Vendor     string // "GenuineIntel", "AuthenticAMD", ...
	Model      string // for people
	Family     int    // cpu family and model; 0 = not said
	ModelID    int
	Virt       string // "vmx", "svm", or "" = no hardware virtualization
	Hypervisor bool   // this machine is itself a guest
	Online     CPUList
	Possible   CPUList
	Isolated   CPUList // isolcpus
	NoHZFull   CPUList // nohz_full
	Cores      []Core  // by CPU number
}

// Core is where one CPU, as the kernel counts them, is.
type Core struct {
	CPU      int
	Package  int
	Core     int // within its package
	Node     int
	Siblings CPUList // CPUs of the same core, itself among them
}

// Packages is how many sockets there are.
func (c CPU) Packages() int {
	seen := map[int]bool{}
	for _, k := range c.Cores {
		seen[k.Package] = true
	}
	return len(seen)
}

// Physical is how many cores there are, over all packages.
func (c CPU) Physical() int {
	seen := map[string]bool{}
	for _, k := range c.Cores {
		seen[fmt.Sprint(k.Package, "/", k.Core)] = true
	}
	return len(seen)
}

// Count is how many CPUs there can be: what masks and "all" are about.
func (c CPU) Count() int {
	if n := len(c.Possible); n > 0 {
		return c.Possible[n-1] + 1
	}
	if n := len(c.Online); n > 0 {
		return c.Online[n-1] + 1
	}
	return 0
}

func (t Tree) cpu() CPU {
	info, _ := t.Bytes("proc/cpuinfo")
	c := parseCPUInfo(info)
	dir := "sys/devices/system/cpu"
	c.Online, c.Possible = t.List(dir, "online"), t.List(dir, "possible")
	c.Isolated, c.NoHZFull = t.List(dir, "isolated"), t.List(dir, "nohz_full")
	for _, n := range t.numbered("cpu", dir) {
		at := fmt.Sprintf("%s/cpu%d", dir, n)
		k := Core{CPU: n, Node: -1, Siblings: t.List(at, "topology/thread_siblings_list")}
		if !t.Exists(at, "topology/core_id") { // offline
			continue
		}
		k.Core, _ = t.Number(at, "topology/core_id")
		k.Package, _ = t.Number(at, "topology/physical_package_id")
		if nodes := t.numbered("node", at); len(nodes) > 0 {
			k.Node = nodes[0]
		}
		c.Cores = append(c.Cores, k)
	}
	return c
}

// parseCPUInfo reads the first processor of /proc/cpuinfo: they do not differ in this.
func parseCPUInfo(data []byte) CPU {
	c := CPU{}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, longest)
	for sc.Scan() {
		key, value, ok := strings.Cut(sc.Text(), ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok && c.Vendor != "":
			return c
		case key == "vendor_id" || key == "CPU implementer":
			c.Vendor = value
		case key == "model name":
			c.Model = value
		case key == "cpu family":
			c.Family, _ = strconv.Atoi(value)
		case key == "model":
			c.ModelID, _ = strconv.Atoi(value)
		case key == "flags":
			flags := strings.Fields(value)
			c.Hypervisor = slices.Contains(flags, "hypervisor")
			for _, f := range []string{"vmx", "svm"} {
				if slices.Contains(flags, f) {
					c.Virt = f
				}
			}
		}
	}
	return c
}
