package machinetest

import (
	"fmt"
	"strconv"
	"strings"
)

// thread is one CPU as the kernel counts them.
type thread struct{ cpu, pkg, core, node, sibling int }

// nodes is how many NUMA nodes there are; 0 = the kernel shows one all the same.
func (t *Tree) nodes() int { return max(t.Spec.Packages*t.Spec.NodesPer, 1) }

// threads numbers the CPUs as firmware does: all cores first, their second threads
// after.
func (t *Tree) threads() []thread {
	s := t.Spec
	cores := s.Packages * s.Cores
	ways := 1
	if s.SMT {
		ways = 2
	}
	out := make([]thread, 0, cores*ways)
	for n := range cores * ways {
		i := n % cores
		pkg, core := i/s.Cores, i%s.Cores
		if s.Interleaved {
			pkg, core = i%s.Packages, i/s.Packages
		}
		x := thread{cpu: n, pkg: pkg, core: core, sibling: n}
		if s.SMT {
			x.sibling = (n + cores) % (2 * cores)
		}
		if s.NodesPer > 0 {
			x.node = pkg*s.NodesPer + core*s.NodesPer/s.Cores
		}
		out = append(out, x)
	}
	return out
}

// list writes CPUs as the kernel does; it is written down here again so that the
// fixtures do not rest on what they test.
func list(cpus []int) string {
	var out []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(cpus[i]))
		} else {
			out = append(out, strconv.Itoa(cpus[i])+"-"+strconv.Itoa(cpus[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

func (t *Tree) processors() {
	s := t.Spec
	all := t.threads()
	flags := "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx pdpe1gb rdtscp lm constant_tsc " + s.Virt + " sse4_2 x2apic aes avx avx2"
	if s.Guest {
		flags += " hypervisor"
	}
	var info strings.Builder
	last := len(all) - 1
	dir := "sys/devices/system/cpu"
	t.files(dir, map[string]string{
		"online": fmt.Sprintf("0-%d", last), "possible": fmt.Sprintf("0-%d", last), "present": fmt.Sprintf("0-%d", last), "offline": "", "isolated": "",
		"nohz_full": "(null)", "kernel_max": "8191", "smt/active": map[bool]string{true: "1", false: "0"}[s.SMT],
		"smt/control": map[bool]string{true: "on", false: "notsupported"}[s.SMT], "cpuidle/current_driver": "none", "cpuidle/current_governor": "menu",
	})
	if s.FreqDriver == "intel_pstate" {
		t.files(dir+"/intel_pstate", map[string]string{"no_turbo": "0", "status": "active", "min_perf_pct": "27", "max_perf_pct": "100"})
	}
	for _, x := range all {
		fmt.Fprintf(&info, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\nphysical id\t: %d\ncore id\t\t: %d\nflags\t\t: %s\nbugs\t\t: spectre_v1\n\n",
			x.cpu, s.Vendor, s.CPUFamily, s.CPUModel, s.Model, x.pkg, x.core, flags)
		at := fmt.Sprintf("%s/cpu%d", dir, x.cpu)
		siblings := []int{min(x.cpu, x.sibling), max(x.cpu, x.sibling)}
		if x.cpu == x.sibling {
			siblings = siblings[:1]
		}
		t.files(at+"/topology", map[string]string{
			"core_id": strconv.Itoa(x.core), "physical_package_id": strconv.Itoa(x.pkg), "thread_siblings_list": list(siblings),
		})
		if x.cpu > 0 {
			t.Write(at+"/online", "1\n")
		}
		t.Link(fmt.Sprintf("%s/node%d", at, x.node), fmt.Sprintf("../../node/node%d", x.node))
		t.power(at)
	}
	t.Write("proc/cpuinfo", info.String())
}

// power is cpufreq and cpuidle of one CPU.
func (t *Tree) power(at string) {
	s := t.Spec
	if s.FreqDriver != "" {
		governors := "conservative ondemand userspace powersave performance schedutil"
		governor := "schedutil"
		if s.FreqDriver == "intel_pstate" {
			governors, governor = "performance powersave", "powersave"
			t.files(at+"/cpufreq", map[string]string{
				"energy_performance_preference":            "balance_performance",
				"energy_performance_available_preferences": "default performance balance_performance balance_power power",
			})
		}
		t.files(at+"/cpufreq", map[string]string{
			"scaling_driver": s.FreqDriver, "scaling_governor": governor, "scaling_available_governors": governors,
			"scaling_min_freq": "800000", "scaling_max_freq": "3000000", "cpuinfo_min_freq": "800000", "cpuinfo_max_freq": "3000000", "scaling_cur_freq": "2200000",
		})
	}
	latency := []int{0, 2, 10, 133, 166, 200}
	for i, name := range s.IdleStates {
		t.files(fmt.Sprintf("%s/cpuidle/state%d", at, i), map[string]string{
			"name": name, "desc": "MWAIT " + name, "disable": "0", "latency": strconv.Itoa(latency[min(i, len(latency)-1)]), "residency": "20", "usage": "1000", "time": "1000",
		})
	}
}

func (t *Tree) memory() {
	s := t.Spec
	kib := s.MemoryGiB << 20
	pages := func(dir string) {
		for _, size := range []string{"2048", "1048576"} {
			t.files(dir+"/hugepages-"+size+"kB", map[string]string{"nr_hugepages": "0", "free_hugepages": "0", "surplus_hugepages": "0"})
		}
	}
	n := t.nodes()
	t.Write("proc/meminfo", fmt.Sprintf("MemTotal:       %8d kB\nMemFree:        %8d kB\nMemAvailable:   %8d kB\nHugePages_Total:       0\nHugepagesize:       2048 kB\n", kib*n, kib*n/2, kib*n*3/4))
	pages("sys/kernel/mm/hugepages")
	t.files("sys/kernel/mm/transparent_hugepage", map[string]string{
		"enabled": "always [madvise] never", "defrag": "always defer defer+madvise [madvise] never", "khugepaged/defrag": "1",
	})
	all := t.threads()
	t.Write("sys/devices/system/node/online", fmt.Sprintf("0-%d\n", n-1))
	for id := range n {
		at := fmt.Sprintf("sys/devices/system/node/node%d", id)
		var cpus []int
		for _, x := range all {
			if x.node == id {
				cpus = append(cpus, x.cpu)
			}
		}
		var distances []string
		for other := range n {
			d := "21"
			switch {
			case other == id:
				d = "10"
			case s.NodesPer > 0 && other/s.NodesPer == id/s.NodesPer:
				d = "12"
			}
			distances = append(distances, d)
		}
		t.files(at, map[string]string{
			"cpulist": list(cpus), "distance": strings.Join(distances, " "),
			"meminfo": fmt.Sprintf("Node %d MemTotal:       %d kB\nNode %d MemFree:        %d kB", id, kib, id, kib/2),
		})
		pages(at + "/hugepages")
	}
}
