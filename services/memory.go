package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// settleMemory lets garbage wait: it is collected when the heap has grown to five times what is in use, or when
// nine tenths of what the container may have are in use. GOGC and GOMEMLIMIT win where they are set.
func settleMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if limit := containerMemory(os.ReadFile); os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// containerMemory is what the container may have, in bytes, as cgroups say it (version 2, else 1); 0 when nothing limits it.
func containerMemory(read func(name string) ([]byte, error)) int64 {
	const unlimited = 1 << 60 // what version 1 says for none is about 1 << 63
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(name)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit < unlimited {
			return limit
		}
		return 0 // "max"
	}
	return 0
}
