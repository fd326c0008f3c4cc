package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/version"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// Git merges three trees: the template at the release that the fork has (base), the fork (ours), and the template at the new release
// (theirs). Some files need no person to decide about them, but a program that knows what is in them.

// generated are the files that make generate writes, as patterns of their paths.
var generated = []string{"api/*/*/gen.go"}

// mergeFile merges a file that both sides have changed; false says that it is git's to merge.
func mergeFile(name string, base, ours, theirs []byte) ([]byte, bool) {
	switch {
	case matches(name, generated...):
		return ours, true // till it is generated
	case path.Base(name) == "go.sum":
		return mergedSum(ours, theirs), true
	case path.Base(name) == "go.mod":
		return mergedMod(base, ours, theirs)
	case matches(name, lists...):
		return mergedList(name, base, ours, theirs)
	}
	return nil, false
}

// settle takes the files that a program merges out of git's hands: base gets what the fork has, theirs what shall come out.
func settle(base, ours, theirs tree) {
	for name := range maps.Clone(base) {
		merged, can := mergeFile(name, base[name], ours[name], theirs[name])
		_, have := ours[name]
		_, stays := theirs[name]
		switch {
		case !can || have && bytes.Equal(base[name], ours[name]):
		case !have: // and does not get it back
			delete(base, name)
			delete(theirs, name)
		case !stays: // and does not keep what it made of it
			base[name] = ours[name]
		default:
			base[name], theirs[name] = ours[name], merged
		}
	}
}

// settleSettings gives both sides the fork's table of settings, which is made again from the merged code, and reports whether the template's
// has changed. A fork that keeps none has nothing to settle.
func settleSettings(base, ours, theirs tree) bool {
	was, mine, is := settingsTable.FindSubmatch(base[readme]), settingsTable.FindSubmatch(ours[readme]), settingsTable.FindSubmatch(theirs[readme])
	if was == nil || mine == nil || is == nil {
		return false
	}
	base[readme], theirs[readme] = settingsIn(base[readme], string(mine[1])), settingsIn(theirs[readme], string(mine[1]))
	return !bytes.Equal(was[1], is[1])
}

// mergedSum has the checksums of both: go mod tidy drops what is too much.
func mergedSum(ours, theirs []byte) []byte {
	lines := slices.Sorted(strings.Lines(string(ours) + string(theirs)))
	return []byte(strings.Join(slices.Compact(lines), ""))
}

// mergedMod does to our go.mod what the template did to its own: what it requires anew is required, and in which version. A version that
// the fork has raised further stays; what the template dropped stays too, until go mod tidy finds that nobody imports it.
func mergedMod(base, ours, theirs []byte) ([]byte, bool) {
	was, err := modfile.Parse("go.mod", base, nil)
	mine, err2 := modfile.Parse("go.mod", ours, nil)
	is, err3 := modfile.Parse("go.mod", theirs, nil)
	if cmp.Or(err, err2, err3) != nil || rest(was) != rest(is) {
		return nil, false
	}
	old, all := map[string]string{}, map[string]*modfile.Require{}
	for _, r := range was.Require {
		old[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range mine.Require {
		all[r.Mod.Path] = r
	}
	for _, r := range is.Require {
		before, had := old[r.Mod.Path]
		have := all[r.Mod.Path]
		switch {
		case have == nil && !had:
			all[r.Mod.Path] = r
		case have != nil && before != r.Mod.Version && (have.Mod.Version == before || semver.Compare(have.Mod.Version, r.Mod.Version) < 0):
			have.Mod.Version = r.Mod.Version
			fallthrough
		case have != nil:
			have.Indirect = have.Indirect && r.Indirect
		}
	}
	mine.SetRequireSeparateIndirect(slices.Collect(maps.Values(all)))
	for _, t := range is.Tool {
		if !slices.ContainsFunc(was.Tool, func(o *modfile.Tool) bool { return o.Path == t.Path }) {
			err = cmp.Or(err, mine.AddTool(t.Path))
		}
	}
	if is.Go != nil && mine.Go != nil && version.Compare("go"+is.Go.Version, "go"+mine.Go.Version) > 0 {
		err = cmp.Or(err, mine.AddGoStmt(is.Go.Version))
	}
	mine.SortBlocks()
	mine.Cleanup()
	text, err2 := mine.Format()
	return text, cmp.Or(err, err2) == nil
}

// rest is a go.mod without what mergedMod understands.
func rest(f *modfile.File) string {
	said := fmt.Sprint(f.Module.Mod, len(f.Retract), len(f.Godebug), len(f.Ignore))
	if f.Toolchain != nil {
		said += f.Toolchain.Name
	}
	for _, r := range f.Replace {
		said += fmt.Sprintln(r.Old, r.New)
	}
	for _, e := range f.Exclude {
		said += fmt.Sprintln(e.Mod)
	}
	return said
}

// renumber gives new migrations of the template the numbers after the fork's own: a database that has run those would never run one with a
// lower number. It says which.
func renumber(base, ours, theirs tree) (moved []string) {
	last, own := map[string]int{}, map[string]int{} // by folder: the last number, and the last that is not the template's
	for name := range ours {
		if folder, number, _ := migration(name); number > 0 {
			last[folder] = max(last[folder], number)
			if _, known := base[name]; !known {
				own[folder] = max(own[folder], number)
			}
		}
	}
	behind := map[string]bool{} // once one has moved in a folder, those after it follow
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		folder, number, rest := migration(name)
		if _, known := base[name]; known || number == 0 || bytes.Equal(ours[name], theirs[name]) {
			continue
		}
		if behind[folder] = behind[folder] || number <= own[folder]; !behind[folder] {
			continue
		}
		last[folder]++
		after := fmt.Sprintf("%s/%04d_%s", folder, last[folder], rest)
		content := theirs[name]
		delete(theirs, name)
		theirs[after] = content
		moved = append(moved, fmt.Sprintf("%s is %s here, after your own", name, after))
	}
	return moved
}

// migration reads migrations/users/0002_phone.sql; the number is 0 for what is none.
func migration(name string) (folder string, number int, rest string) {
	if ok, _ := path.Match("migrations/*/*_*.sql", name); !ok {
		return "", 0, ""
	}
	digits, rest, _ := strings.Cut(path.Base(name), "_")
	number, err := strconv.Atoi(digits)
	if err != nil {
		return "", 0, ""
	}
	return path.Dir(name), number, rest
}

// differ reports whether a file below one of the folders is another one.
func differ(a, b tree, folders ...string) bool {
	below := func(name string) bool {
		return slices.ContainsFunc(folders, func(folder string) bool { return strings.HasPrefix(name, folder) })
	}
	for _, pair := range [][2]tree{{a, b}, {b, a}} {
		for name := range pair[0] {
			if other, has := pair[1][name]; below(name) && (!has || !bytes.Equal(pair[0][name], other)) {
				return true
			}
		}
	}
	return false
}
