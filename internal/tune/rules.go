package tune

import "strings"

// Where values come from.
const (
	fromMellanox = "mlnx-tools: mlnx_tune, sysctl_perf_tuning"
	fromKernel   = "Linux, Documentation/"
	fromRedHat   = "tuned: network-throughput, network-latency"
)

// Rules is the table of everything that is tuned. The order counts: what makes queues
// and interrupts anew comes before what places them, and energy preferences come before
// the governor that locks them.
func Rules() []Rule { return append(append(deviceRules(), placeRules()...), hostRules()...) }

const sysctl, power = "proc/sys/", "sys/kernel/mm/transparent_hugepage/"

func hostRules() []Rule {
	const throughput, big = Throughput, "67108864"
	return []Rule{
		{
			Name: "energy-preference", Title: "energy preference of each CPU", Source: fromKernel + "admin-guide/pm/intel_pstate.rst, amd-pstate.rst",
			Why:    "CPUs that choose their clock themselves are told to choose a high one",
			Values: values{Throughput: "performance", Latency: "performance", Forwarding: "performance", Balanced: "balance_performance"},
			wish:   perCPU("cpufreq/energy_performance_preference", everyCPU, lockedOrNotOffered),
		},
		{
			Name: "governor", Title: "frequency governor of each CPU", Source: fromMellanox,
			Why:    "a CPU that clocks up only under load is late for the first packets",
			Values: values{Throughput: "performance", Latency: "performance", Forwarding: "performance"},
			wish:   perCPU("cpufreq/scaling_governor", everyCPU, offered("cpufreq/scaling_available_governors")),
		},
		{
			Name: "sleep", Title: "how long CPUs near the NICs may take to wake (microseconds)", Source: fromKernel + "admin-guide/pm/cpuidle.rst",
			Why:    "waking from a deep C-state takes longer than a packet on the wire",
			Values: values{Latency: "2"},
			wish:   perCPU("power/pm_qos_resume_latency_us", nearCPUs, nil),
		},
		{
			Name: "thp", Title: "transparent huge pages", Source: fromMellanox + "; madvise, for guests ask for them",
			Why: "huge pages for whoever has not asked are made while somebody waits", Values: values{Latency: "madvise"}, wish: choice(power + "enabled"),
		},
		{
			Name: "thp-defrag", Title: "compaction for transparent huge pages", Source: fromMellanox,
			Why: "memory is moved while a process waits for a page", Values: values{Latency: "never"}, wish: choice(power + "defrag"),
		},
		{
			Name: "numa-balancing", Title: "automatic moving of memory between NUMA nodes", Source: fromMellanox,
			Why: "it takes pages away from processes to see who uses them", Values: values{Latency: "0"}, wish: file(sysctl + "kernel/numa_balancing"),
		},
		{
			Name: "nmi-watchdog", Title: "the watchdog for CPUs that hang", Source: fromMellanox,
			Why: "it interrupts every CPU", Values: values{Latency: "0"}, wish: file(sysctl + "kernel/nmi_watchdog"),
		},
		{
			Name: "stat-interval", Title: "how often memory statistics are gathered (seconds)", Source: fromMellanox,
			Why: "every CPU is interrupted for it", Values: values{Latency: "30"}, wish: atLeast(sysctl + "vm/stat_interval"),
		},
		{
			Name: "backlog", Title: "packets that may wait for a CPU", Source: fromMellanox,
			Why:    "packets that RPS or a veth hands over are dropped when the queue is full",
			Values: values{Throughput: "250000", Forwarding: "250000", Balanced: "5000"}, wish: atLeast(sysctl + "net/core/netdev_max_backlog"),
		},
		{
			Name: "budget", Title: "packets that one round of polling takes", Source: fromRedHat,
			Why: "a round that ends early lets the ring run over", Values: values{Forwarding: "600"}, wish: atLeast(sysctl + "net/core/netdev_budget"),
		},
		{
			Name: "rmem-max", Title: "largest receive buffer that a program may ask for", Source: fromMellanox + "; for 100 Gbit/s and 5 ms",
			Why:    "a window smaller than what is under way leaves the wire idle",
			Values: values{throughput: big, Forwarding: "4194304", Latency: "4194304", Balanced: "4194304"}, wish: atLeast(sysctl + "net/core/rmem_max"),
		},
		{
			Name: "wmem-max", Title: "largest send buffer that a program may ask for", Source: fromMellanox + "; for 100 Gbit/s and 5 ms",
			Why:    "a window smaller than what is under way leaves the wire idle",
			Values: values{throughput: big, Forwarding: "4194304", Latency: "4194304", Balanced: "4194304"}, wish: atLeast(sysctl + "net/core/wmem_max"),
		},
		{
			Name: "tcp-rmem", Title: "TCP's receive buffer: least, first, most", Source: fromMellanox,
			Why:    "TCP never opens its window further than this",
			Values: values{throughput: "4096 131072 33554432"}, wish: atLeast(sysctl + "net/ipv4/tcp_rmem"),
		},
		{
			Name: "tcp-wmem", Title: "TCP's send buffer: least, first, most", Source: fromMellanox,
			Why:    "TCP never has more under way than this",
			Values: values{throughput: "4096 65536 33554432"}, wish: atLeast(sysctl + "net/ipv4/tcp_wmem"),
		},
		{
			Name: "busy-poll", Title: "how long poll and select look at the NIC themselves (microseconds)", Source: fromRedHat,
			Why: "no interrupt and no wake-up before the answer", Values: values{Latency: "50"}, wish: file(sysctl + "net/core/busy_poll"),
		},
		{
			Name: "busy-read", Title: "how long reads look at the NIC themselves (microseconds)", Source: fromRedHat,
			Why: "no interrupt and no wake-up before the answer", Values: values{Latency: "50"}, wish: file(sysctl + "net/core/busy_read"),
		},
		{
			Name: "ip-forward", Title: "IPv4 forwarding", Source: fromMellanox,
			Why: "a router forwards", Values: values{Forwarding: "1"}, wish: forward,
		},
	}
}

// lockedOrNotOffered refuses what the CPU's driver would refuse.
func lockedOrNotOffered(f *Facts, cpu int, want string) string {
	if f.Files[cpuFile(cpu, "cpufreq/scaling_governor")] == "performance" && want != "performance" {
		return "the performance governor decides it"
	}
	return offered("cpufreq/energy_performance_available_preferences")(f, cpu, want)
}

// choice is file for those that list what there is, with the chosen one in brackets.
func choice(path string) func(*Facts, *Rule, Profile) []Wish {
	one := file(path)
	return func(f *Facts, r *Rule, p Profile) []Wish {
		out := one(f, r, p)
		for i := range out {
			out[i].Now = chosen(out[i].Now)
		}
		return out
	}
}

// chosen is the word in brackets: "always [madvise] never".
func chosen(text string) string {
	if _, rest, ok := strings.Cut(text, "["); ok {
		word, _, _ := strings.Cut(rest, "]")
		return word
	}
	return text
}

// forward switches forwarding on. The kernel switches every interface and, with them,
// accept_redirects along (net/ipv4/devinet.c, inet_forward_change), so the value holds
// both, and a machine on which single interfaces forward is left alone: switching back
// would stop those.
func forward(f *Facts, r *Rule, p Profile) []Wish {
	now, ok := f.Files[forwardFile]
	redirects, rok := f.Files[redirectFile]
	if !ok || !rok || r.Values[p] == "" {
		return nil
	}
	w := Wish{Target: Target{Kind: KindForward}, Now: now + " " + redirects, Want: r.Values[p] + " " + redirects}
	if now != r.Values[p] {
		w.Want = r.Values[p] + " 0"
		if len(f.Forwarders) > 0 {
			w.Refused = "single interfaces forward already (" + strings.Join(f.Forwarders, ", ") + "): set net.ipv4.ip_forward by hand"
		}
	}
	return []Wish{w}
}

const (
	forwardFile  = sysctl + "net/ipv4/ip_forward"
	redirectFile = sysctl + "net/ipv4/conf/all/accept_redirects"
)
