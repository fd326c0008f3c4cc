package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	// cameOrWent is what a changelog says of an operation as a whole.
	cameOrWent = regexp.MustCompile("(?m)^- `([A-Z]+ /\\S*)`: (endpoint added|removed)$")
	parameter  = regexp.MustCompile(`\{[^}]*\}`) // its name may change, which nobody notices
)

// missing says which operations callers have by the changelogs, and no released contract has: without the copy that they stood in, today's
// contract would be new, and free to change. A module without a changelog has released nothing.
func missing(root string, diff *oasdiff, list []contract) (lines []string, err error) {
	changelogs, err := filepath.Glob(filepath.Join(root, "api/*/CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	for _, changelog := range changelogs {
		module := filepath.Base(filepath.Dir(changelog))
		known := map[string]bool{}
		for _, c := range list {
			if c.module != module || c.released == "" {
				continue
			}
			operations, err := diff.changes("", c.released)
			if err != nil {
				return nil, err
			}
			for _, o := range operations {
				known[parameter.ReplaceAllString(o.Operation+" "+o.Path, "{}")] = true
			}
		}
		text, err := os.ReadFile(changelog)
		if err != nil {
			return nil, err
		}
		var gone []string
		for _, line := range cameOrWent.FindAllStringSubmatch(string(text), -1) { // the newest first: it is the one that counts
			operation := parameter.ReplaceAllString(line[1], "{}")
			if !known[operation] && line[2] != "removed" {
				gone = append(gone, line[1])
			}
			known[operation] = true
		}
		if len(gone) > 0 {
			lines = append(lines, fmt.Sprintf("api/%s/released has no contract any more with %s, which api/%[1]s/CHANGELOG.md says is released\n", module, strings.Join(gone, ", ")))
		}
	}
	return lines, nil
}
