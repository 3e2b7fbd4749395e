package paths

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"neutrino/internal/netspace"
)

// Congestion is the congestion control of TCP at both ends of paths that are measured: one that goes as fast as it can. What paces
// itself by an estimate of the path, as BBR does, would measure that estimate. The kernel lets a namespace choose among
// those that everybody may use; reno is always one of them.
func Congestion() string {
	allowed, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if slices.Contains(strings.Fields(string(allowed)), "cubic") {
		return "cubic"
	}
	return "reno"
}

func pace(namespace string) error {
	err := netspace.Do(namespace, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(Congestion()), 0o644)
	})
	if err != nil {
		return fmt.Errorf("choose TCP's congestion control: %w", err)
	}
	return nil
}
