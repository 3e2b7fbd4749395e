//go:build race

package system

func init() { raced = true }
