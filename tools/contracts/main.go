// Command contracts holds the contracts against those of the last release, with oasdiff, whose program OASDIFF names. A released contract
// stands in api/<module>/released/<version>.yaml, so no history is needed; one that has none is new and free to change, unless the changelog
// beside it says that callers have it.
//
//	contracts breaking           fail with the reasons when a contract breaks a released one (make breaking)
//	contracts changelog          print what changed since the last release (make api-changelog)
//	contracts snapshot vX.Y.Z    note that in api/<module>/CHANGELOG.md, and keep the contracts as released (make snapshot)
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "contracts:", err)
		os.Exit(1)
	}
}

func run(root string, args []string, out io.Writer) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	diff, err := newOasdiff(os.Getenv("OASDIFF"))
	if err != nil {
		return err
	}
	defer diff.close()
	list, err := contracts(root)
	if err != nil {
		return err
	}
	switch {
	case slices.Equal(args, []string{"breaking"}):
		return breaking(root, diff, list, out)
	case slices.Equal(args, []string{"changelog"}):
		return changelog(diff, list, out)
	case len(args) == 2 && args[0] == "snapshot":
		return snapshot(root, diff, list, args[1], out)
	}
	return fmt.Errorf("there is no command %q; there are breaking, changelog and snapshot vX.Y.Z", args)
}

// contract is one version of a module's contract: the file of today and that of the last release, "" for one that is not there.
type contract struct {
	module, version string
	today, released string
}

func (c contract) String() string { return c.module + " " + c.version }

// contracts lists every contract that is there or was released, in order.
func contracts(root string) (list []contract, err error) {
	find := func(module, version string) *contract {
		i := slices.IndexFunc(list, func(c contract) bool { return c.module == module && c.version == version })
		if i < 0 {
			i, list = len(list), append(list, contract{module: module, version: version})
		}
		return &list[i]
	}
	today, err := filepath.Glob(filepath.Join(root, "api/*/v*/openapi.yaml"))
	if err != nil {
		return nil, err
	}
	for _, name := range today {
		folder := filepath.Dir(name)
		find(filepath.Base(filepath.Dir(folder)), filepath.Base(folder)).today = name
	}
	released, err := filepath.Glob(filepath.Join(root, "api/*/released/v*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, name := range released {
		find(filepath.Base(filepath.Dir(filepath.Dir(name))), strings.TrimSuffix(filepath.Base(name), ".yaml")).released = name
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no contract in %s", filepath.Join(root, "api"))
	}
	slices.SortFunc(list, func(a, b contract) int { return strings.Compare(a.String(), b.String()) })
	return list, nil
}

// breaking says what breaks whom, and fails if anything does, or if a released contract is missing to say it by.
func breaking(root string, diff *oasdiff, list []contract, out io.Writer) error {
	lines, err := missing(root, diff, list)
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		fmt.Fprint(out, strings.Join(lines, ""))
		return errors.New("released contracts are missing: git log -- 'api/*/released/*' says who took them away (docs/change-an-api.md)")
	}
	broken := 0
	for _, c := range list {
		if c.released == "" {
			fmt.Fprintf(out, "%s is new: nothing to hold it against\n", c)
			continue
		}
		changes, err := diff.changes(c.released, c.today)
		if err != nil {
			return err
		}
		for _, change := range changes {
			if change.breaks() {
				broken++
				fmt.Fprintf(out, "%s breaks its callers: %s [%s]\n", c, change, change.ID)
			}
		}
	}
	if broken > 0 {
		return fmt.Errorf("callers of the last release break, for the reasons above (%d): make it a new version beside the old one (docs/change-an-api.md)", broken)
	}
	fmt.Fprintln(out, "no contract breaks a released one")
	return nil
}

// changelog prints the changes of every module.
func changelog(diff *oasdiff, list []contract, out io.Writer) error {
	for _, module := range modules(list) {
		lines, err := changed(diff, list, module)
		if err != nil {
			return err
		}
		if len(lines) > 0 {
			fmt.Fprintf(out, "### %s\n\n%s\n", module, strings.Join(lines, ""))
		}
	}
	return nil
}

// modules lists the modules once each.
func modules(list []contract) (names []string) {
	for _, c := range list {
		names = append(names, c.module)
	}
	return slices.Compact(names)
}

// changed lists the changes of a module since the last release, as lines of Markdown.
func changed(diff *oasdiff, list []contract, module string) (lines []string, err error) {
	for _, c := range list {
		if c.module != module {
			continue
		}
		changes, err := diff.changes(c.released, c.today)
		if err != nil {
			return nil, err
		}
		// What goes after its sunset breaks nobody and oasdiff says nothing of it; the other way round it is new.
		gone, err := diff.changes(c.today, c.released)
		if err != nil {
			return nil, err
		}
		for _, change := range changes {
			if c.released != "" || change.ID == added { // of a new contract its operations are enough
				lines = append(lines, "- "+change.String()+"\n")
			}
		}
		for _, change := range gone {
			if change.ID == added {
				lines = append(lines, fmt.Sprintf("- `%s %s`: removed\n", change.Operation, change.Path))
			}
		}
	}
	return lines, nil
}

var release = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)

// snapshot notes what changed with a release and keeps the contracts for the next comparison. Without changes it changes nothing.
func snapshot(root string, diff *oasdiff, list []contract, version string, out io.Writer) error {
	if !release.MatchString(version) {
		return fmt.Errorf("%q is no version such as v1.2.3", version)
	}
	if err := breaking(root, diff, list, out); err != nil {
		return err
	}
	files := map[string][]byte{} // nil: goes
	for _, module := range modules(list) {
		lines, err := changed(diff, list, module)
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			continue
		}
		file := filepath.Join(root, "api", module, "CHANGELOG.md")
		if files[file], err = noted(file, module, version, lines); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d changes of %s are noted in api/%s/CHANGELOG.md\n", len(lines), module, module)
	}
	for _, c := range list {
		file := filepath.Join(root, "api", c.module, "released", c.version+".yaml")
		files[file] = nil
		if c.today != "" {
			text, err := os.ReadFile(c.today)
			if err != nil {
				return err
			}
			files[file] = text
		}
	}
	return write(files)
}

// noted returns a changelog with a release's section above those of the releases before.
func noted(file, module, version string, lines []string) ([]byte, error) {
	head := fmt.Sprintf("# Changes of the API: %s\n\nWhat callers see change, release by release. `make snapshot` writes it from the contracts.\n", module)
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if bytes.Contains(before, []byte("\n## "+version+"\n")) {
		return nil, fmt.Errorf("%s has a section %s already: a release is noted once, so take a version that is not taken", file, version)
	}
	return []byte(head + "\n## " + version + "\n\n" + strings.Join(lines, "") + strings.TrimPrefix(string(before), head)), nil
}

func write(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name] == nil {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
