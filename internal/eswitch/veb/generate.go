package veb

// Debian's clang-19, llvm-19, libbpf-dev and linux-libc-dev make the objects; the
// result is the same on every machine with those, which CI proves. A build needs
// none of them.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -output-stem veb -type nic -type vf -type fdb_key -type mac_key -type source_key -type counters sw bpf/veb.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -output-stem trunk -type trunk_port -type station tor bpf/trunk.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
