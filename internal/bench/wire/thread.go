package wire

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// loopRoom is how many loops may be blocked in the kernel while the runtime still has
// processors for everything else.
const loopRoom = 2 * 64

// hush is the quiet that loops need. It is shared by all measurements of the process.
var hush struct {
	sync.Mutex
	held    int
	loops   int
	gc      int
	procs   int
	allowed unix.CPUSet
	taken   map[int]int // processors under loops, with how many measurements have them
}

// quiet makes the process keep still until the returned function is called: no garbage
// collection, and none of its threads but the loops' on cpus, where there are others.
//
// Loops hold their processor of the runtime while they are blocked in the kernel, so
// nothing that stops the world may happen while one runs: what does is done here, by the
// first that comes and the last that goes. That is also why there is a bound to the loops of a process.
func quiet(cpus []int, loops int) (func(), error) {
	hush.Lock()
	defer hush.Unlock()
	if hush.loops+loops > loopRoom {
		return nil, fmt.Errorf("%w: %d flows are measured in this process already, and %d more would be more than %d", ErrBusy, hush.loops, loops, loopRoom)
	}
	if hush.held == 0 {
		if err := unix.SchedGetaffinity(0, &hush.allowed); err != nil {
			return nil, fmt.Errorf("read the processors of this process: %w", err)
		}
		hush.taken = map[int]int{}
		runtime.GC()
		hush.gc = debug.SetGCPercent(-1)
		hush.procs = runtime.GOMAXPROCS(runtime.NumCPU() + loopRoom)
	}
	hush.held++
	hush.loops += loops
	for _, c := range cpus {
		hush.taken[c]++
	}
	spread()
	return func() { loud(cpus, loops) }, nil
}

func loud(cpus []int, loops int) {
	hush.Lock()
	defer hush.Unlock()
	hush.loops -= loops
	for _, c := range cpus {
		if hush.taken[c]--; hush.taken[c] == 0 {
			delete(hush.taken, c)
		}
	}
	spread()
	if hush.held--; hush.held == 0 {
		runtime.GOMAXPROCS(hush.procs)
		debug.SetGCPercent(hush.gc)
	}
}

// spread moves all threads but the loops' to the processors that no loop has; to all
// where the loops have every one. A thread that has ended meanwhile is no loss.
func spread() {
	rest := hush.allowed
	for c := range hush.taken {
		rest.Clear(c)
	}
	if rest.Count() == 0 {
		rest = hush.allowed
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil && !loops.has(tid) {
			_ = unix.SchedSetaffinity(tid, &rest)
		}
	}
}

// threads are the loops' own.
type threads struct {
	sync.Mutex
	ids []int
}

var loops threads

func (t *threads) has(id int) bool {
	t.Lock()
	defer t.Unlock()
	return slices.Contains(t.ids, id)
}

func (t *threads) add(id int) {
	t.Lock()
	defer t.Unlock()
	t.ids = append(t.ids, id)
}

func (t *threads) drop(id int) {
	t.Lock()
	defer t.Unlock()
	t.ids = slices.DeleteFunc(t.ids, func(x int) bool { return x == id })
}

// onThread turns the calling goroutine into a loop: a thread of its own, on one processor (cpu < 0: on
// any that the process may use), which the runtime's preemption does not interrupt. The thread ends with the
// goroutine, so nothing of this is to be undone.
func onThread(cpu int, fn func() error) error {
	runtime.LockOSThread()
	id := unix.Gettid()
	loops.add(id)
	defer loops.drop(id)
	var set unix.CPUSet
	if cpu >= 0 {
		set.Set(cpu)
	} else {
		hush.Lock()
		set = hush.allowed
		hush.Unlock()
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin a thread to processor %d: %w", cpu, err)
	}
	// The timers of poll are to the point, not 50 microseconds late.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set a thread's timer slack: %w", err)
	}
	var mask unix.Sigset_t
	mask.Val[0] = 1 << (uint(syscall.SIGURG) - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil); err != nil {
		return fmt.Errorf("hold back a thread's signals: %w", err)
	}
	return fn()
}

// pick is the processor of a flow.
func pick(cpus []int, flow int) int {
	if len(cpus) == 0 {
		return -1
	}
	return cpus[flow%len(cpus)]
}
