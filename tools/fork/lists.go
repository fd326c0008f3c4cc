package main

import (
	"bytes"
	"errors"
	"go/ast"
	"go/format"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	yaml "github.com/oasdiff/yaml3"
)

const contracts = "api/*/*/openapi.yaml"

// lists are the files in which every module and every resource has lines of its own, below those of the others: make module and make
// resource write them there. What the fork and the template have added in one place are entries of one list then, and both stay. In any
// other file git asks: it may matter which comes first, or only one may be wanted.
var lists = []string{
	readme, together, apart, caddyfile, contracts,
	"services/app.go", "services/auth/roles.go", "services/main_test.go", "services/serve_test.go",
}

// matches reports whether a file has a path of one of the patterns.
func matches(name string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok })
}

// mergedList merges as git does, but for places where both sides have only added entries: there the fork's stay, and the template's come
// behind them. False leaves the file to git: when anything else conflicts, and when the result is not sound.
func mergedList(name string, base, ours, theirs []byte) ([]byte, bool) {
	if ours == nil || theirs == nil || bytes.Equal(base, ours) || bytes.Equal(base, theirs) {
		return nil, false
	}
	var merged []byte
	var err error
	if path.Ext(name) == ".go" {
		merged, err = mergedGo(base, ours, theirs)
	} else {
		merged, _, err = beside(base, ours, theirs, matches(name, contracts))
	}
	if err == nil {
		_, err = without(name, merged, "") // refuses a region that has lost its end
	}
	if ext := path.Ext(name); err == nil && (ext == ".yaml" || ext == ".yml") {
		err = yaml.Unmarshal(merged, new(any)) // refuses a key that is there twice
	}
	return merged, err == nil
}

// mergedGo merges Go without the spaces by which gofmt aligns neighbours: a longer name would change all their lines. Inside of a function what
// both have added is no list.
func mergedGo(base, ours, theirs []byte) ([]byte, error) {
	var bare [3][]byte
	for i, side := range [][]byte{base, ours, theirs} {
		var err error
		if bare[i], err = unaligned(side); err != nil {
			return nil, err
		}
	}
	merged, places, err := beside(bare[0], bare[1], bare[2], false)
	if err != nil {
		return nil, err
	}
	if err := outsideFunctions(merged, places); err != nil {
		return nil, err
	}
	return format.Source(merged)
}

// unaligned is a Go file without alignment. It refuses one that gofmt would not bring back as it was.
func unaligned(source []byte) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var bare bytes.Buffer
	if err := (&printer.Config{Mode: printer.RawFormat, Tabwidth: 8}).Fprint(&bare, set, file); err != nil {
		return nil, err
	}
	made := empty.ReplaceAll(column.ReplaceAll(bare.Bytes(), []byte("$1 ")), []byte("$1$2{\n$1}$3"))
	if back, err := format.Source(made); err != nil || !bytes.Equal(back, source) {
		return nil, errors.Join(errors.New("it is not as gofmt has it"), err)
	}
	return made, nil
}

var (
	// column is a tab where the next column begins; an entry that stands alone has a space there.
	column = regexp.MustCompile(`(\S)\t+`)
	// empty is a list without entries, in a line that the first one would change. gofmt closes it again.
	empty = regexp.MustCompile(`(?m)^(\t*)(var \w+ = .*|\S+: )\{\}(,?)$`)
)

// outsideFunctions refuses places in a Go file that are inside of a function, and what is no Go.
func outsideFunctions(source []byte, places []int) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		from, to := set.Position(d.Pos()).Offset, set.Position(d.End()).Offset
		_, is := d.(*ast.FuncDecl)
		if is && slices.ContainsFunc(places, func(at int) bool { return from < at && at < to }) {
			return errors.New("both have added something inside of a function")
		}
	}
	return nil
}

// hunk is a conflict as git shows it: ours, base, theirs. Marks of this length are no line of anybody's.
var hunk = regexp.MustCompile(`(?sm)^<{99} .*?\n(.*?)^\|{99} .*?\n(.*?)^={99}\n(.*?)^>{99} .*?\n`)

// beside merges three texts, and says where in the result both sides have added something. With once, what is the same in both additions is
// there once: resources share some entries of a contract.
func beside(base, ours, theirs []byte, once bool) (merged []byte, places []int, err error) {
	text, err := mergeFiles(base, ours, theirs)
	if err != nil {
		return nil, nil, err
	}
	end := 0
	for _, m := range hunk.FindAllSubmatchIndex(text, -1) {
		mine, was, other := string(text[m[2]:m[3]]), text[m[4]:m[5]], string(text[m[6]:m[7]])
		if in := depth(mine); len(was) > 0 || in < 0 || in != depth(other) {
			return nil, nil, errors.New("both changed the same lines")
		}
		if once {
			other = missing(mine, other)
		}
		merged = append(merged, text[end:m[0]]...)
		places = append(places, len(merged))
		merged, end = append(merged, mine+other...), m[1]
	}
	return append(merged, text[end:]...), places, nil
}

// mergeFiles has git merge three texts. Where they conflict, all three stand in the result.
func mergeFiles(base, ours, theirs []byte) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "fork-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	for name, side := range map[string][]byte{"ours": ours, "base": base, "theirs": theirs} {
		if err := os.WriteFile(filepath.Join(scratch, name), side, 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("git", "merge-file", "-p", "--diff3", "--marker-size=99", "ours", "base", "theirs")
	cmd.Dir = scratch
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && failed.ExitCode() > 0 && failed.ExitCode() < 128 { // the number of conflicts
		err = nil
	}
	return out, err
}

// depth is how far in the first line of a text stands, and -1 when another one stands further out: the text is no row of whole entries then,
// but the end of one and the beginning of another.
func depth(text string) int {
	first := -1
	for line := range strings.Lines(text) {
		inner := strings.TrimLeft(line, " \t")
		switch in := len(line) - len(inner); {
		case strings.TrimSpace(inner) == "":
		case first < 0:
			first = in
		case in < first:
			return -1
		}
	}
	return first
}

// missing are the entries of a text of YAML that another one has not got, as they are.
func missing(there, from string) string {
	within := func(text string) ([]string, []entry) {
		all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		return all, entries(all, section{0, len(all), depth(text)})
	}
	_, known := within(there)
	all, list := within(from)
	if len(list) == 0 || list[0].lines[0] != all[0] { // it begins with a comment, which is no entry's
		return from
	}
	var left strings.Builder
	for _, e := range list {
		if !slices.ContainsFunc(known, func(k entry) bool { return slices.Equal(k.lines, e.lines) }) {
			left.WriteString(strings.Join(e.lines, "\n") + "\n")
		}
	}
	return left.String()
}
