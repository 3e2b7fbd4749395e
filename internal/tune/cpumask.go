package tune

import (
	"fmt"
	"math/big"
	"strings"
)

// formatMask writes CPUs as sysfs takes masks: hexadecimal, 32 bits between commas,
// without leading zeros.
func formatMask(cpus []int) string {
	n := new(big.Int)
	for _, c := range cpus {
		n.SetBit(n, c, 1)
	}
	return groups(n.Text(16))
}

// canonMask is a mask as formatMask writes it, whatever its width was.
func canonMask(text string) string {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 16)
	if !ok || n.Sign() < 0 {
		return strings.TrimSpace(text)
	}
	return groups(n.Text(16))
}

func groups(hex string) string {
	out := ""
	for len(hex) > 8 {
		out = "," + hex[len(hex)-8:] + out
		hex = hex[:len(hex)-8]
	}
	return hex + out
}

// maskCPUs reads a mask.
func maskCPUs(text string) ([]int, error) {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 16)
	if !ok || n.Sign() < 0 || n.BitLen() > 1<<16 {
		return nil, fmt.Errorf("%.40q is no mask of CPUs", text)
	}
	var out []int
	for i := range n.BitLen() {
		if n.Bit(i) == 1 {
			out = append(out, i)
		}
	}
	return out, nil
}
