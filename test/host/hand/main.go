package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	port  = "/dev/virtio-ports/hand"
	alive = "/vm/alive"
)

// order is one line from the test: a script to run, or a walk over directories.
type order struct {
	ID     int           `json:"id"`
	Script string        `json:"script"`
	Walk   []string      `json:"walk"`
	Limit  time.Duration `json:"limit"`
	Strike *strike       `json:"strike"`
}

// answer is one line to the test. The first one after each boot says which boot it is.
type answer struct {
	ID    int     `json:"id"`
	Boot  string  `json:"boot,omitempty"`
	Code  int     `json:"code"`
	Out   string  `json:"out"`
	Files []entry `json:"files,omitempty"`
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "hand:", err)
		os.Exit(1)
	}
}

func serve() error {
	f, err := os.OpenFile(port, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	go live()
	// What was being written when the last boot ended is no line of this one's.
	if _, err = f.WriteString("\n"); err != nil {
		return err
	}
	out := json.NewEncoder(f)
	if err = out.Encode(answer{Boot: strings.TrimSpace(string(boot))}); err != nil {
		return err
	}
	in := bufio.NewReader(f)
	for {
		line, rerr := in.ReadBytes('\n')
		if rerr != nil {
			return rerr
		}
		var o order
		if err = json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("an order: %w", err)
		}
		if err = out.Encode(carryOut(o)); err != nil {
			return err
		}
	}
}

// live gives the rig a sign of life as long as this process is there.
func live() {
	for range time.Tick(2 * time.Second) {
		now := time.Now()
		if err := os.Chtimes(alive, now, now); err != nil {
			fmt.Fprintln(os.Stderr, "hand:", err)
		}
	}
}

func carryOut(o order) answer {
	a := answer{ID: o.ID}
	for _, root := range o.Walk {
		files, err := walk(root)
		if err != nil {
			return answer{ID: o.ID, Code: 255, Out: err.Error()}
		}
		a.Files = append(a.Files, files...)
	}
	if len(o.Walk) > 0 {
		return a
	}
	a.Code, a.Out = run(o)
	return a
}
