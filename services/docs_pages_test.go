package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// page is one file of Markdown. What is said of it names its lines.
type page struct {
	name   string
	prose  string // the text, with its code in fences blanked
	blocks []block
	// files that it names and that its reader makes
	toBeMade []string
}

// block is code between fences.
type block struct {
	line  int    // of the opening fence
	lang  string // sh, text …
	above string // the line above it
	text  string // without the fences' indentation
}

// toBeMade lists files that a page names and that are there only when its reader has made them.
var toBeMade = regexp.MustCompile(`<!-- to be made: (.*?) -->`)

var fence = regexp.MustCompile("^( *)```([a-z]*)$")

func parsePage(name, text string) page {
	p := page{name: name}
	var prose []string
	var open *block
	above, indent := "", ""
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			open, indent = &block{line: i + 1, lang: m[2], above: above}, m[1]
		case open != nil && m != nil:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		default:
			prose = append(prose, line)
			if strings.TrimSpace(line) != "" {
				above = strings.TrimSpace(line)
			}
			continue
		}
		prose = append(prose, "")
	}
	p.prose = strings.Join(prose, "\n")
	for _, m := range toBeMade.FindAllStringSubmatch(p.prose, -1) {
		p.toBeMade = append(p.toBeMade, strings.Split(m[1], ", ")...)
	}
	return p
}

// notRun stands above commands that nobody runs, and says why.
var notRun = regexp.MustCompile(`^<!-- not run: \S.* -->$`)

// runs are the blocks that a reader types in.
func (p page) runs() (list []block) {
	for _, b := range p.blocks {
		if b.lang == "sh" && !notRun.MatchString(b.above) {
			list = append(list, b)
		}
	}
	return list
}

var (
	compiles = regexp.MustCompile(`(?m)^\s*(make|go) `)
	changes  = regexp.MustCompile(`(?m)^\s*make (module|resource|rename|remove|upgrade|release|snapshot)\b`)
)

// slow reports whether a command of the page does more than to call the server, or the page is one of many.
func (p page) slow() bool { return p.has(compiles) || path.Dir(p.name) == "docs/runbooks" }

// changing reports whether the page's commands make files, which it then tells of.
func (p page) changing() bool { return p.has(changes) }

func (p page) has(command *regexp.Regexp) bool {
	return slices.ContainsFunc(p.runs(), func(b block) bool { return command.MatchString(b.text) })
}

// theTree is every file of the project, and not what was built or is kept beside it.
var theTree = func() func(*testing.T) files {
	load := sync.OnceValues(func() (files, error) { return treeAt("..") })
	return func(t *testing.T) files {
		t.Helper()
		tree, err := load()
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
}()

func treeAt(root string) (files, error) {
	tree := files{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".local", "bin", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || d.Name() == ".git" { // a worktree has a file of that name
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		name, err = filepath.Rel(root, name)
		tree[filepath.ToSlash(name)] = string(content)
		return err
	})
	return tree, err
}

// pages are the README and what is in docs/, in the order of their names.
func (f files) pages() (list []page) {
	for name := range f {
		if name == "README.md" || strings.HasPrefix(name, "docs/") && strings.HasSuffix(name, ".md") {
			list = append(list, parsePage(name, f[name]))
		}
	}
	slices.SortFunc(list, func(a, b page) int { return strings.Compare(a.name, b.name) })
	return list
}
