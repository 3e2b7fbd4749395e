package mstconfig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Set gives keys of the card at a PCI address the values that the next boot brings, all at once. It needs
// root.
func Set(ctx context.Context, slot string, values map[string]string) error {
	program, err := Find()
	if err != nil {
		return fmt.Errorf("set the firmware of %s: %w", slot, err)
	}
	args := []string{"-y", "-d", slot, "set"}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		args = append(args, key+"="+values[key])
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("set the firmware of %s: %s %s: %w: %s", slot, program, strings.Join(args, " "), err, firstLine(string(out)))
	}
	if err != nil {
		return fmt.Errorf("set the firmware of %s: %s: %w", slot, program, err)
	}
	return nil
}
