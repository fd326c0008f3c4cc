package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// noteMigrations remembers what each migration was when it was applied, and returns what to say of those that are another now, or
// gone: they are not applied again. The note lies beside the data, and goes with them.
func (p place) noteMigrations() (warnings []string, err error) {
	file := filepath.Join(p.data, "applied-migrations")
	content, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	applied := map[string]string{}
	for line := range strings.Lines(string(content)) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		applied[name] = hash
	}
	note, present := string(content), map[string]bool{}
	for _, name := range read(p.root).below("migrations") {
		hash := sum(p.root, name)
		present[name] = true
		switch {
		case filepath.Ext(name) != ".sql":
		case applied[name] == "":
			note += hash + "  " + name + "\n"
		case applied[name] != hash:
			warnings = append(warnings, fmt.Sprintf("%s is not what was applied to this database, and is not applied again. Put the change into a new file; "+
				"or, as long as nobody else has applied it, stop and `make reset`, which wipes the data and begins afresh", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(applied)) {
		if !present[name] {
			warnings = append(warnings, fmt.Sprintf("%s was applied to this database and is not in this checkout: the schema is ahead of the code. "+
				"Bring the file back, or stop and `make reset`, which wipes the data and begins afresh", name))
		}
	}
	return warnings, os.WriteFile(file, []byte(note), 0o600)
}
