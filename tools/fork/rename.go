package main

import (
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	gomodule "golang.org/x/mod/module"
)

// rename is make rename: another module path and another name, in every file and path of the checkout.
func rename(root string, args []string, out io.Writer) error {
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return errors.New("say both: make rename MODULE=github.com/acme/backend NAME=acme")
	}
	before, err := read(root)
	if err != nil {
		return err
	}
	from, err := before.template()
	if err != nil {
		return err
	}
	to := template{Module: args[0], Name: args[1]}
	if from.Fork && from.Module == to.Module && from.Name == to.Name {
		fmt.Fprintf(out, "this is %s (%s) already: there is nothing to do\n", to.Name, to.Module)
		return nil
	}
	if err := mayBeCalled(before, from, to); err != nil {
		return err
	}
	if err := clean(root); err != nil {
		return err
	}
	after, err := renamed(before, to)
	if err != nil {
		return err
	}
	if err := after.writeOrUndo(root, before); err != nil {
		return err
	}
	if err := keepModes(root, before, newSpeller(from, to)); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s (%s) is %s (%s) now, in %d files. git diff shows it; make check tries it.\n",
		from.Name, from.Module, to.Name, to.Module, changes(before, after))
	fmt.Fprintf(out, "The database and the logins of earlier local runs carry the old name: the next make run begins with empty ones.\n")
	for _, left := range leftovers(after, from, to) {
		fmt.Fprintf(out, "look at this yourself: %s\n", left)
	}
	return nil
}

// renamed is the tree under other names: to has a module path and a name. A tree that is renamed for the first time is a fork from then on,
// and its releases are its own.
func renamed(t tree, to template) (tree, error) {
	made, err := t.template()
	if err != nil {
		return nil, err
	}
	s, next := newSpeller(made, to), tree{}
	for name, content := range t {
		other := s.text(name)
		if _, twice := next[other]; twice {
			return nil, fmt.Errorf("%s would have the path of another file, %s", name, other)
		}
		if next[other] = content; !untouched(name, content) {
			next[other] = formatted(name, content, s.file(name, content))
		}
	}
	if !made.Fork {
		made.Made = nil // those are the template's now
		dropReleases(next)
		next[changelogFile] = []byte(firstChangelog(made.Version))
	}
	made.Module, made.Name, made.Fork = to.Module, to.Name, true
	next.set(made)
	return next, nil
}

// untouched are the files that a new name leaves as they are: what is no text, and the licence, which says who wrote this and has to go
// with every copy.
func untouched(name string, content []byte) bool {
	return binary(content) || path.Base(name) == "LICENSE"
}

// keepModes gives files that have moved the mode they had: a program stays one.
func keepModes(root string, before tree, s speller) error {
	listed, err := git(root, "ls-files", "-s", "-z")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(listed, "\x00") { // 100755 <object> 0<TAB>path
		about, name, _ := strings.Cut(line, "\t")
		if moved := s.text(name); moved != name && strings.HasPrefix(about, "100755") && before[name] != nil {
			if err := os.Chmod(filepath.Join(root, filepath.FromSlash(moved)), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes counts the files that differ, or are in one only.
func changes(before, after tree) (n int) {
	for name := range after {
		if string(after[name]) != string(before[name]) || before[name] == nil {
			n++
		}
	}
	for name := range before {
		if after[name] == nil {
			n++
		}
	}
	return n
}

// leftovers are the places that still have the old name, in whatever spelling, and not as a part of the new one.
func leftovers(t tree, from, to template) (left []string) {
	old := regexp.MustCompile("(?i)" + strings.ReplaceAll(regexp.QuoteMeta(from.Name), "-", "[-_ ]?") + "|" + regexp.QuoteMeta(from.Module))
	without := func(text []byte) []byte { return text }
	if old.MatchString(to.Name + " " + to.Module) {
		without = func(text []byte) []byte { return finder(to).ReplaceAll(text, nil) }
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		switch found := old.Find(without(t[name])); {
		case old.Match(without([]byte(name))):
			left = append(left, fmt.Sprintf("the path %s has the old name", name))
		case found != nil && binary(t[name]):
			left = append(left, fmt.Sprintf("%s is no text and has %q in it", name, found))
		case found != nil:
			left = append(left, fmt.Sprintf("%s still has %q in it", name, found))
		}
	}
	return left
}

// A name is a program, an image, a folder, a database, and with _ in place of - the beginning of every login: a role of Postgres holds 63
// bytes, and the module's name comes after ours.
var (
	goodName   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	longestOne = 30
)

// taken are names that mean something else where ours will stand.
var taken = map[string]string{
	"a role or a database that Postgres has already": "postgres pg public none template0 template1",
	"an image or a program that we use":              "redis valkey caddy mailpit golang local",
	"a folder at the root of a system or an image":   "bin boot dev etc home lib lib64 media mnt opt out proc root run sbin srv state sys tmp usr var",
	"a word of YAML, no text":                        "yes no on off true false null",
	"a word of the tools here":                       "test tests main fork template",
}

// mayBeCalled says what is wrong with the new names.
func mayBeCalled(t tree, from, to template) error {
	refuse := func(why string, args ...any) error {
		return fmt.Errorf("NAME=%s cannot be: %s", to.Name, fmt.Sprintf(why, args...))
	}
	if err := gomodule.CheckPath(to.Module); err != nil {
		return fmt.Errorf("MODULE=%s cannot be: %w; take a path like github.com/acme/backend", to.Module, err)
	}
	if mod, err := modfile.ParseLax("go.mod", t["go.mod"], nil); err == nil {
		for _, r := range mod.Require {
			if r.Mod.Path == to.Module {
				return fmt.Errorf("MODULE=%s cannot be: it is a dependency of this one", to.Module)
			}
		}
	}
	if len(to.Name) < 2 || len(to.Name) > longestOne || !goodName.MatchString(to.Name) {
		return refuse("a name has 2 to %d lower-case letters and digits, begins with a letter, and may have single hyphens inside, like acme-pay", longestOne)
	}
	if token.IsKeyword(to.Name) {
		return refuse("it is a keyword of Go")
	}
	for why, names := range taken {
		if slices.Contains(strings.Fields(names), to.Name) {
			return refuse("it is %s", why)
		}
	}
	if strings.HasPrefix(to.Name, "pg-") {
		return refuse("Postgres keeps roles that begin with pg_ for itself")
	}
	for name := range t {
		if strings.HasPrefix(name, "api/"+to.Name+"/") || strings.HasPrefix(name, "services/"+to.Name+"/") {
			return refuse("it is a module of this repository")
		}
	}
	if where := wordIn(t, from, to); where != "" {
		return refuse("it is a word of %s already, which a later rename could not tell from your name; take a longer one, such as %s-hq", where, to.Name)
	}
	return nil
}

// wordIn says which file has the new name before the rename, "" for none: in its path, or in what is neither prose nor a comment. The old name
// goes, so the new one may be a part of it. Pages and the tools here have names as examples, tests may say what they like.
func wordIn(t tree, from, to template) string {
	old, word := finder(from), newSpeller(template{Module: "\x00", Name: to.Name}, template{Name: "x"})
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if untouched(name, t[name]) || slices.Contains([]string{".md", ".txt"}, path.Ext(name)) || strings.HasPrefix(name, "tools/fork/") || aTest.MatchString(name) {
			continue
		}
		if !word.has([]byte(name)) && !word.has(t[name]) {
			continue
		}
		words := name + "\n" + withoutComments(name, t[name])
		if words = string(old.ReplaceAll([]byte(words), nil)); word.text(words) != words {
			return name
		}
	}
	return ""
}

var aTest = regexp.MustCompile(`_test\.go$|\.test\.ts$|(^|/)test(data)?/`)

// comment is one of the files that are not Go, to the end of its line.
var comment = regexp.MustCompile(`(?m)(^|\s)(#|--|//) .*$|\s##? .*$|/\*(?s:.*?)\*/`)

func withoutComments(name string, content []byte) string {
	if path.Ext(name) != ".go" {
		return comment.ReplaceAllString(string(content), "")
	}
	var words strings.Builder
	var scan scanner.Scanner
	scan.Init(token.NewFileSet().AddFile("", -1, len(content)), content, func(token.Position, string) {}, 0)
	for {
		_, kind, literal := scan.Scan()
		if kind == token.EOF {
			return words.String()
		}
		words.WriteString(literal + "\n")
	}
}
