package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Interrupt is one numbered line of /proc/interrupts.
type Interrupt struct {
	IRQ    int
	Counts []uint64 // by column
	Chip   string   // "IR-PCI-MSIX-0000:3b:00.0"
	Name   string   // what the driver calls it; "" = nobody has asked for it
}

// Total is how often it came.
func (i Interrupt) Total() uint64 {
	var n uint64
	for _, c := range i.Counts {
		n += c
	}
	return n
}

// Interrupts reads the machine's /proc/interrupts. CPUs are those of the columns.
func (t Tree) Interrupts() ([]Interrupt, CPUList) {
	text, _ := t.Text("proc/interrupts")
	return ParseInterrupts(text)
}

// ParseInterrupts reads the text of /proc/interrupts. Lines without a number (NMI, LOC)
// are passed over.
func ParseInterrupts(text string) ([]Interrupt, CPUList) {
	var out []Interrupt
	var cpus []int
	head := true
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if head {
			head = false
			for _, w := range words {
				if n, err := strconv.Atoi(strings.TrimPrefix(w, "CPU")); err == nil && strings.HasPrefix(w, "CPU") {
					cpus = append(cpus, n)
				}
			}
			continue
		}
		if len(words) == 0 {
			continue
		}
		digits, ok := strings.CutSuffix(words[0], ":")
		irq, err := strconv.Atoi(digits)
		if !ok || err != nil || irq < 0 {
			continue
		}
		out = append(out, parseInterrupt(irq, words[1:], len(cpus)))
	}
	return out, cpus
}

func parseInterrupt(irq int, words []string, columns int) Interrupt {
	i := Interrupt{IRQ: irq}
	for len(words) > 0 && len(i.Counts) < columns {
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			break
		}
		i.Counts, words = append(i.Counts, n), words[1:]
	}
	// "<chip> <hwirq>-<kind> <names>"; some chips have blanks or no number of their own.
	at := slices.IndexFunc(words, func(w string) bool {
		return strings.HasSuffix(w, "-edge") || strings.HasSuffix(w, "-fasteoi") || w == "Edge" || w == "Level"
	})
	if at < 0 {
		i.Chip = strings.Join(words, " ")
		return i
	}
	i.Chip, i.Name = strings.Join(words[:at], " "), strings.Join(words[at+1:], " ")
	return i
}

// Affinity is where an interrupt may go, where it goes now, and what its driver would
// like; an empty list is not known.
type Affinity struct{ Allowed, Effective, Hint CPUList }

// Affinity reads where an interrupt goes.
func (t Tree) Affinity(irq int) Affinity {
	at := fmt.Sprintf("proc/irq/%d", irq)
	a := Affinity{Allowed: t.List(at, "smp_affinity_list"), Effective: t.List(at, "effective_affinity_list")}
	hint, _ := t.Text(at, "affinity_hint")
	if l, err := ParseCPUMask(hint); err == nil {
		a.Hint = l
	}
	return a
}
