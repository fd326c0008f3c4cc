package main

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the README and docs/ say has to be there: links, files, names of Go, make targets, operations, settings, tests. What they have a
// reader type in is run by docs_run_test.go.

func TestThePagesNameWhatIsThere(t *testing.T) {
	t.Parallel()
	tree := theTree(t)
	for _, p := range tree.pages() {
		wrong := p.links(tree)
		if !p.changing() { // what one tells of is there when its commands were run
			wrong = append(wrong, p.names(tree)...)
		}
		for _, w := range wrong {
			t.Error(w)
		}
	}
}

func TestEveryPageIsOnTheMap(t *testing.T) {
	t.Parallel()
	tree := theTree(t)
	for _, missing := range unmapped(tree) {
		t.Errorf("nobody finds %s: link it in docs/README.md, or in that of its folder", missing)
	}
	tree = maps.Clone(tree)
	tree["docs/lost.md"] = "# Lost\n"
	if got := unmapped(tree); !slices.Contains(got, "docs/lost.md") {
		t.Errorf("a page that is linked nowhere is not found: %v", got)
	}
}

// unmapped are the pages that none of the maps links.
func unmapped(tree files) (missing []string) {
	var known []string
	for _, p := range tree.pages() {
		if path.Base(p.name) == "README.md" && p.name != "README.md" {
			for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
				known = append(known, path.Join(path.Dir(p.name), m[1]))
			}
		}
	}
	for _, p := range tree.pages() {
		if p.name != "README.md" && p.name != "docs/README.md" && !slices.Contains(known, p.name) {
			missing = append(missing, p.name)
		}
	}
	return missing
}

// TestEveryPageSaysHowLongItTakes wants that of the page itself and of the line that links it on the map, the same. A decision is two minutes.
func TestEveryPageSaysHowLongItTakes(t *testing.T) {
	t.Parallel()
	tree := theTree(t)
	lines := regexp.MustCompile(`(?m)^- \[.*$`).FindAllString(tree["docs/README.md"], -1)
	if len(lines) == 0 {
		t.Error("docs/README.md lists no pages")
	}
	for _, line := range lines {
		m := onTheMap.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("docs/README.md does not say how many minutes it takes: %s", line)
		} else if !strings.Contains(tree["docs/"+m[1]], "\n**"+m[2]+" minutes") {
			t.Errorf("docs/%s does not begin with **%s minutes** and with what one can do then, as the map says", m[1], m[2])
		}
	}
}

var onTheMap = regexp.MustCompile(`^- \[[^\]]*\]\(([^)]*)\), (\d+) minutes`)

// parts are what each decision says, in this order.
var parts = []string{"What we decided", "Why", "What we left out", "What it costs", "When to think again"}

func TestEveryDecisionHasTheSameForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^docs/decisions/\d{4}-[a-z0-9-]+\.md$`)
	found := 0
	for _, p := range theTree(t).pages() {
		if path.Dir(p.name) != "docs/decisions" || path.Base(p.name) == "README.md" {
			continue
		}
		found++
		var has []string
		for _, m := range heading.FindAllStringSubmatch(p.prose, -1) {
			has = append(has, m[2])
		}
		if !form.MatchString(p.name) || len(has) != len(parts)+1 || !slices.Equal(has[1:], parts) {
			t.Errorf("%s has the parts %q, want a title and %q", p.name, has, parts)
		}
		if lines := strings.Count(p.prose, "\n"); lines > 60 {
			t.Errorf("%s has %d lines: a decision is one page", p.name, lines)
		}
	}
	if found == 0 {
		t.Error("there are no decisions")
	}
}
