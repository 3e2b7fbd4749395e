package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"neutrino/internal/lab"
)

// labTable is the speeds of a lab's report.
func labTable(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var report lab.Report
	if err = json.Unmarshal(text, &report); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	if len(report.Paths) == 0 {
		return "", fmt.Errorf("%s measured no path", file)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### Data paths of a whole lab, `make lab`, %d rounds\n\n", report.Effort.Rounds)
	b.WriteString("| | round trip, median | 99th percentile | of direct | TCP | lowest to highest | of direct |\n|---|---|---|---|---|---|---|\n")
	for _, p := range report.Paths {
		if p.Err != "" {
			fmt.Fprintf(&b, "| %s | not measured | | | | | |\n", p.Title)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s us | %s us | **%.2f** | %s Gbit/s | %s to %s | **%.2f** |\n",
			p.Title, digits(p.RTT.P50), digits(p.RTT.P99), p.RTTRatio,
			digits(p.Gbit.Median), digits(p.Gbit.Min), digits(p.Gbit.Max), p.GbitRatio)
	}
	b.WriteString("\n")
	return b.String(), nil
}
