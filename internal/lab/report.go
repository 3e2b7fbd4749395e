package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Report is what a run showed. Its JSON is for scripts: fields may be added, never
// renamed.
type Report struct {
	Version   int         `json:"version"`
	OK        bool        `json:"ok"`
	Lab       string      `json:"lab"`
	Started   time.Time   `json:"started"`
	Machine   Machine     `json:"machine"`
	Networks  []Network   `json:"networks"`
	Instances []*Instance `json:"instances"`
	Pings     []Ping      `json:"pings"`
	Spoofs    []Spoof     `json:"spoofs"`
	Paths     []Measured  `json:"paths"`
	Effort    Effort      `json:"effort"`
	Timings   Timings     `json:"timings"`
}

// Machine that it ran on.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

// Timings of the run's parts, in nanoseconds in JSON.
type Timings struct {
	Up      time.Duration `json:"up_ns"`      // nothing -> every agent alive
	Boot    time.Duration `json:"boot_ns"`    // networks created -> last instance has its address
	Check   time.Duration `json:"check_ns"`   // matrix and forgeries
	Measure time.Duration `json:"measure_ns"` // latency and throughput
	Down    time.Duration `json:"down_ns"`    // everything -> nothing
	Total   time.Duration `json:"total_ns"`
}

// judge sets OK: isolation as it must be, and every path measured. Figures are not
// judged: they depend on the machine.
func (r *Report) judge() {
	r.OK = len(r.Pings) > 0 && len(r.Spoofs) > 0
	for _, p := range r.Pings {
		r.OK = r.OK && p.OK()
	}
	for _, s := range r.Spoofs {
		r.OK = r.OK && s.OK()
	}
	for _, m := range r.Paths {
		optional := m.Key == PathBridge || m.Key == PathVXLAN // a kernel may lack them
		r.OK = r.OK && (m.Err == "" || optional)
	}
}

func thisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown"}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.CPU = strings.TrimSpace(v)
			break
		}
	}
	return m
}

// Save writes the report to a file: HTML, or JSON if its name ends in ".json".
func (r *Report) Save(path string) error {
	var data []byte
	var err error
	if strings.EqualFold(filepath.Ext(path), ".json") {
		data, err = json.MarshalIndent(r, "", "  ")
	} else {
		data, err = r.HTML()
	}
	if err == nil {
		err = renameio.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	return nil
}
