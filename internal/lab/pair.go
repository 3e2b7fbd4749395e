package lab

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// pair is two threads on one CPU, one for each end of a path. They live as long as the
// measurement and are not used for anything else afterwards.
type pair struct {
	jobs [2]chan func() error
	done [2]chan error
}

// newPair pins both threads to the last CPU that the process may use.
func newPair() (*pair, error) {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("read the CPUs of this process: %w", err)
	}
	last := 0
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			last = cpu
		}
	}
	one.Set(last)
	p := &pair{}
	for i := range p.jobs {
		p.jobs[i], p.done[i] = make(chan func() error), make(chan error, 1)
		go p.work(i, &one)
		if err := <-p.done[i]; err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *pair) work(i int, cpu *unix.CPUSet) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	defer close(p.done[i])
	if err := unix.SchedSetaffinity(0, cpu); err != nil {
		p.done[i] <- fmt.Errorf("pin a thread to a CPU: %w", err)
		return
	}
	// Other work of the machine is to wait; not being allowed to say so is no fault.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	p.done[i] <- nil
	for job := range p.jobs[i] {
		p.done[i] <- job()
	}
}

// run does both at once and waits for both.
func (p *pair) run(a, b func() error) error {
	p.jobs[0] <- a
	p.jobs[1] <- b
	return errors.Join(<-p.done[0], <-p.done[1])
}

// close ends the threads and waits for them.
func (p *pair) close() {
	for i, c := range p.jobs {
		if c != nil {
			close(c)
			for range p.done[i] { //nolint:revive // drained until closed
			}
		}
	}
}
