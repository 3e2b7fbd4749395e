package main

import (
	"strconv"
	"strings"
)

// figure is one row of a table.
type figure struct {
	what   string
	metric string // "Benchmark unit", as go test prints it
	low    string // metrics of the lowest and the highest of the rounds within one run,
	high   string // where the benchmark has such
	unit   string // as printed
	aim    string // "< 60 ms", ">= 0.5"; "" = none
}

// verdict says whether the value meets the aim.
func (f figure) verdict(value float64) string {
	words := strings.Fields(f.aim)
	if len(words) < 2 {
		return ""
	}
	limit, err := strconv.ParseFloat(words[1], 64)
	if err != nil {
		return ""
	}
	met := map[string]bool{"<": value < limit, "<=": value <= limit, ">=": value >= limit}[words[0]]
	if met {
		return "met"
	}
	return "missed"
}

// table is the figures of one package.
type table struct {
	title   string
	pkg     string
	figures []figure
}

// all tables, in the order of the document.
var all = []table{
	{"Creating ports, beside raw etcd transactions", "internal/neutron", []figure{
		{what: "1 at a time, of raw", metric: "CreatePort/1 ratio", low: "CreatePort/1 ratio-low", high: "CreatePort/1 ratio-high", aim: ">= 0.5"},
		{what: "4 at a time, of raw", metric: "CreatePort/4 ratio", low: "CreatePort/4 ratio-low", high: "CreatePort/4 ratio-high", aim: ">= 0.5"},
		{what: "16 at a time, of raw", metric: "CreatePort/16 ratio", low: "CreatePort/16 ratio-low", high: "CreatePort/16 ratio-high", aim: ">= 0.5"},
		{what: "1 at a time", metric: "CreatePort/1 ports/s", unit: "ports/s"},
		{what: "4 at a time", metric: "CreatePort/4 ports/s", unit: "ports/s"},
		{what: "16 at a time", metric: "CreatePort/16 ports/s", unit: "ports/s"},
	}},
	{"Lists over HTTP, the controller a process of its own", "test/bench", []figure{
		{what: "all of 10,000 ports, median", metric: "List/10000Ports p50-ms", unit: "ms", aim: "< 60 ms"},
		{what: "all of 10,000 ports, 99th percentile", metric: "List/10000Ports p99-ms", unit: "ms"},
		{what: "by `device_id`, median", metric: "List/ByDevice p50-ms", unit: "ms", aim: "< 1 ms"},
		{what: "by `device_id`, 99th percentile", metric: "List/ByDevice p99-ms", unit: "ms"},
		{what: "100 of 10,000, median", metric: "List/Page100 p50-ms", unit: "ms"},
	}},
	{"The controller with etcd inside: start and memory", "test/bench", []figure{
		{what: "start to first answer, no data yet", metric: "Start/Empty p50-ms", unit: "ms", aim: "< 1000 ms"},
		{what: "start to first answer, 10,000 ports", metric: "Start/10000Ports p50-ms", unit: "ms", aim: "< 1000 ms"},
		{what: "memory idle, resident", metric: "ControllerMemory/Idle settled-MB", unit: "MB", aim: "< 60 MB"},
		{what: "memory idle, own", metric: "ControllerMemory/Idle settled-own-MB", unit: "MB"},
		{what: "memory, started with 10,000 ports, resident", metric: "ControllerMemory/10000PortsRestarted settled-MB", unit: "MB", aim: "< 150 MB"},
		{what: "memory, started with 10,000 ports, own", metric: "ControllerMemory/10000PortsRestarted settled-own-MB", unit: "MB"},
		{what: "memory, has made 10,000 ports, resident", metric: "ControllerMemory/10000PortsMade settled-MB", unit: "MB", aim: "< 150 MB"},
		{what: "memory, has made 10,000 ports, own", metric: "ControllerMemory/10000PortsMade settled-own-MB", unit: "MB"},
		{what: "memory, has listed them 52 times, resident", metric: "ControllerMemory/10000PortsListed settled-MB", unit: "MB", aim: "< 150 MB"},
		{what: "memory, has listed them 52 times, own", metric: "ControllerMemory/10000PortsListed settled-own-MB", unit: "MB"},
	}},
	{"Whole DHCP exchanges, 1000 clients, 8 at a time, beside dnsmasq", "internal/dhcp", []figure{
		{what: "neutrino", metric: "Exchange/neutrino exchanges/s", unit: "exchanges/s", aim: ">= 1000 exchanges/s"},
		{what: "neutrino, median", metric: "Exchange/neutrino p50-ms", unit: "ms"},
		{what: "neutrino, 99th percentile", metric: "Exchange/neutrino p99-ms", unit: "ms"},
		{what: "dnsmasq", metric: "Exchange/dnsmasq exchanges/s", unit: "exchanges/s"},
		{what: "dnsmasq, median", metric: "Exchange/dnsmasq p50-ms", unit: "ms"},
		{what: "dnsmasq, 99th percentile", metric: "Exchange/dnsmasq p99-ms", unit: "ms"},
	}},
	{"A port: bound, VF programmed and read back, ACTIVE", "test/bench", []figure{
		{what: "NIC of 8 VFs, median", metric: "BoundToActive/8VFs p50-ms", unit: "ms", aim: "< 10 ms"},
		{what: "NIC of 8 VFs, 99th percentile", metric: "BoundToActive/8VFs p99-ms", unit: "ms", aim: "< 50 ms"},
		{what: "NIC of 64 VFs, median", metric: "BoundToActive/64VFs p50-ms", unit: "ms", aim: "< 10 ms"},
		{what: "NIC of 64 VFs, 99th percentile", metric: "BoundToActive/64VFs p99-ms", unit: "ms", aim: "< 50 ms"},
		{what: "8 VFs beside 10,000 other ports, median", metric: "BoundToActive/BesidePorts p50-ms", unit: "ms", aim: "< 10 ms"},
		{what: "8 VFs beside 10,000 other ports, 99th percentile", metric: "BoundToActive/BesidePorts p99-ms", unit: "ms", aim: "< 50 ms"},
		{what: "of it the PUT, 8 VFs, median", metric: "BoundToActive/8VFs put-p50-ms", unit: "ms"},
		{what: "processor time of the controller per port", metric: "BoundToActive/8VFs controller-cpu-ms", unit: "ms"},
		{what: "processor time of the agent per port", metric: "BoundToActive/8VFs agent-cpu-ms", unit: "ms"},
		{what: "agent's memory, 64 VFs without ports", metric: "AgentMemory idle-MB", unit: "MB"},
		{what: "agent's memory, 64 VFs with ports", metric: "AgentMemory 64-ports-MB", unit: "MB"},
	}},
	{"Data paths, of a direct veth pair", "internal/eswitch/veb", []figure{
		{what: "round trip, VEB, one host", metric: "Paths VEB-one-host-rtt/direct", aim: "<= 1.08"},
		{what: "round trip, VEB, two hosts", metric: "Paths VEB-two-hosts-rtt/direct", aim: "<= 1.15"},
		{what: "round trip, VEB, two hosts by a trunk", metric: "Paths VEB-two-hosts-by-trunk-rtt/direct"},
		{what: "round trip, bridge, one host", metric: "Paths bridge-one-host-rtt/direct"},
		{what: "round trip, bridge, two hosts", metric: "Paths bridge-two-hosts-rtt/direct"},
		{what: "round trip, bridge+VXLAN, two hosts", metric: "Paths bridge+VXLAN-two-hosts-rtt/direct"},
		{what: "TCP, VEB, one host", metric: "Paths VEB-one-host-tcp/direct", aim: ">= 0.95"},
		{what: "TCP, VEB, two hosts", metric: "Paths VEB-two-hosts-tcp/direct", aim: ">= 0.95"},
		{what: "TCP, VEB, two hosts by a trunk", metric: "Paths VEB-two-hosts-by-trunk-tcp/direct"},
		{what: "TCP, bridge, one host", metric: "Paths bridge-one-host-tcp/direct"},
		{what: "TCP, bridge, two hosts", metric: "Paths bridge-two-hosts-tcp/direct"},
		{what: "TCP, bridge+VXLAN, two hosts", metric: "Paths bridge+VXLAN-two-hosts-tcp/direct"},
	}},
}
