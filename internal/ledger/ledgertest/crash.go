package ledgertest

// crash is what ends a process that dies at a point.
type crash struct{}

// Dies runs f, which calls its hook at each point where a crash is different, until it passes the nth. What f defers
// runs, as the kernel lets go of locks and files. died is false where f came to its end.
func Dies(n int, f func(hook func(string))) (died bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			died = true
		}
	}()
	f(func(string) {
		if n--; n < 0 {
			panic(crash{})
		}
	})
	return false
}
