package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"unicode/utf8"
)

// instanceFlags change what the metadata service tells the instance: single keys of
// "instance" in binding:profile; the others stay as they are.
func instanceFlags(f *form) {
	on := func(flag, usage, key string, read func(string) (any, error)) {
		v := f.cmd.Flags().String(flag, "", usage)
		f.on(flag, func(_ context.Context, body, now object) error {
			profile := editProfile(body, now)
			old, _ := profile["instance"].(object)
			instance := maps.Clone(old)
			if instance == nil {
				instance = object{}
			}
			if *v == "" {
				delete(instance, key)
			} else {
				x, err := read(*v)
				if err != nil {
					return fmt.Errorf("--%s: %w", flag, err)
				}
				instance[key] = x
			}
			if len(instance) == 0 {
				delete(profile, "instance")
			} else {
				profile["instance"] = instance
			}
			return nil
		})
	}
	on("hostname", "name the instance gets by metadata; empty = host-ADDRESS", "hostname", func(v string) (any, error) { return v, nil })
	on("ssh-key", "file of OpenSSH public keys the instance gets by metadata, one a line; empty = none", "public_keys", func(file string) (any, error) {
		text, err := os.ReadFile(file)
		keys := []any{}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
		return keys, err
	})
	on("user-data", "file the instance gets as user data, as cloud-init takes it; empty = none", "user_data", func(file string) (any, error) {
		text, err := os.ReadFile(file)
		if err == nil && !utf8.Valid(text) {
			err = fmt.Errorf("%s is not text (UTF-8); compressed user data cannot be passed on", file)
		}
		return string(text), err
	})
}
