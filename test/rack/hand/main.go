package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"
)

type order struct {
	Script string        `json:"script"`
	Limit  time.Duration `json:"limit"`
}

type outcome struct {
	Code int    `json:"code"`
	Out  string `json:"out"`
}

func main() {
	listen := flag.String("listen", "", "host:port")
	flag.Parse()
	bash, err := exec.LookPath("bash")
	if err != nil {
		fmt.Println("hand:", err)
		os.Exit(1)
	}
	http.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) { run(w, r, bash) })
	s := &http.Server{Addr: *listen, ReadHeaderTimeout: time.Minute}
	fmt.Println("hand:", s.ListenAndServe())
	os.Exit(1)
}

func run(w http.ResponseWriter, r *http.Request, bash string) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), o.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "-c", o.Script) //nolint:gosec // that is its purpose
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	answer := outcome{Out: string(out)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		answer.Code = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		answer.Code, answer.Out = 255, answer.Out+"\n"+err.Error()
	}
	_ = json.NewEncoder(w).Encode(answer)
}
