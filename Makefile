# neutrino: `make lab` runs the whole system on this machine, `make test` runs the tests.
# Both need Go, root and a Linux kernel; nothing else.

GO      ?= go
BIN     := bin/neutrino
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X neutrino/internal/cli.Version=$(VERSION)
export CGO_ENABLED = 0

.PHONY: all build lab test test-sriov test-rack test-host test-guest bench-sriov bench-peers lint generate check-generated bench figures fuzz man install clean

all: build

build: $(BIN)

.PHONY: $(BIN)
$(BIN):
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/neutrino

## lab: the main job on one machine: controller, two compute hosts, one network node, instances that talk
lab: build
	$(BIN) lab run

## test: every test, with the race detector, on this kernel (root)
test:
	CGO_ENABLED=1 $(GO) test -race -run '^$$' ./... >/dev/null # build everything, on every core
	CGO_ENABLED=1 $(GO) test -race -p 1 -timeout 9m ./...     # then one package at a time: they measure

## test-sriov: the tests that need SR-IOV NICs, in a VM that has emulated ones (root, QEMU >= 8.1; says SKIP without)
test-sriov:
	$(GO) run ./test/rig/sriov

## test-rack: controller, two compute hosts with SR-IOV NICs and a network node, each a VM, on one trunk (as test-sriov)
test-rack:
	NEUTRINO_RACK=1 $(GO) test -count=1 -timeout 20m -v -run TestRack ./test/rack

## test-host: a Debian disk in a VM: check, prepare, killed and cut off in the middle, reboot, undo (as test-sriov; mmdebstrap)
HOST_RUN ?= TestHost
test-host:
	NEUTRINO_HOST=1 $(GO) test -count=1 -timeout 50m -v -run '$(HOST_RUN)' ./test/host

## test-guest: a guest from a Debian tree gets its address on its VF at the first offer, once prepared (as test-host)
test-guest:
	NEUTRINO_GUEST=1 $(GO) test -count=1 -timeout 30m -v -run 'TestGuest|TestRealDebian' ./internal/guest ./test/guest

## bench-sriov: the benchmarks of real VFs, in the same VM
bench-sriov:
	$(GO) run ./test/rig/sriov -bench

## bench-peers: neutrino bench beside iperf3, sockperf and qperf, on one path, in turn, into docs/performance.md (root, a quiet machine)
bench-peers: build
	$(GO) run ./test/bench/peers -neutrino $(BIN) -into docs/performance.md

## lint: golangci-lint with the rules of .golangci.yml
lint:
	$(GO) tool -modfile=tools/lint/go.mod golangci-lint run ./...

## generate: make committed generated code again (needs clang-19)
generate:
	$(GO) generate ./...

## check-generated: prove that committed generated code is current
check-generated: generate
	@if ! git diff --exit-code --stat; then echo "generated code is not current: commit what 'make generate' made" >&2; exit 1; fi

BENCHES := ./internal/store ./internal/neutron ./internal/api ./internal/ml2 ./internal/ipam ./internal/eswitch/veb ./internal/ovs ./internal/openflow/mgmt ./internal/dhcp ./test/bench

## bench: the benchmarks behind docs/performance.md
bench:
	$(GO) test -run '^$$' -bench . -benchtime 2s -timeout 40m $(BENCHES)

## figures: the benchmarks three times, and their figures into docs/performance.md (root, a quiet machine, half an hour)
figures: build
	@mkdir -p out
	$(GO) test -run '^$$' -bench . -benchtime 2s -count 3 -timeout 60m $(BENCHES) >out/bench.txt || { cat out/bench.txt; exit 1; }
	$(BIN) lab run --name figures --report out/lab.json
	$(GO) run ./test/bench/figures -into docs/performance.md -lab out/lab.json out/bench.txt

## fuzz: every fuzz target for FUZZTIME each
FUZZTIME ?= 10s
fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; done; done

man: build
	$(BIN) man out/man

PREFIX ?= /usr/local
install: build man
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/neutrino
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)/etc/neutrino $(DESTDIR)/usr/lib/systemd/system
	install -m 0644 out/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 contrib/systemd/*.service $(DESTDIR)/usr/lib/systemd/system/
	for f in etc/neutrino/*.conf; do t=$(DESTDIR)/etc/neutrino/$$(basename $$f); [ -e $$t ] || install -m 0640 $$f $$t; done

clean:
	rm -rf bin out
