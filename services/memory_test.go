package main

import (
	"io/fs"
	"testing"
)

func TestTheMemoryOfTheContainer(t *testing.T) {
	const second, first = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"version 2":           {map[string]string{second: "536870912\n"}, 536870912},
		"version 2, no limit": {map[string]string{second: "max\n"}, 0},
		"version 1":           {map[string]string{first: "268435456\n"}, 268435456},
		"version 1, no limit": {map[string]string{first: "9223372036854771712\n"}, 0},
		"both":                {map[string]string{second: "100\n", first: "200\n"}, 100},
		"no cgroups":          {nil, 0},
		"something else":      {map[string]string{second: "a lot"}, 0},
	} {
		got := containerMemory(func(name string) ([]byte, error) {
			if text, is := c.files[name]; is {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
