package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small is a template with nothing in it but lines.
func small() tree {
	files := tree{
		"a.txt":       []byte("Tidewater 1\n2\n3\n4\n5\n6\n7\n"),
		"b.txt":       []byte("tidewater 1\n2\n3\n"),
		"c.txt":       []byte("Of tidewater.\n1\n2\n3\n"),
		changelogFile: []byte("## v0.2.0\n\n### In a fork\n\n- Tidewater rises.\n\n## v0.1.0\n\n- All.\n"),
	}
	files[readme] = []byte("# Tidewater\n\n<!-- settings -->\n| a |\n<!-- /settings -->\n")
	files["api/users/released/v1.yaml"], files["api/users/CHANGELOG.md"] = []byte("first\n"), []byte("first\n")
	files.set(tidewater)
	return files
}

// forked makes a template with two releases, and a fork of the first one. The second one has what theirs changes, the fork what ours does.
func forked(t *testing.T, theirs, ours map[string][2]string) (origin, fork string) {
	t.Helper()
	origin = repository(t, small())
	do(t, origin, "release", "v0.1.0")
	fork = filepath.Join(t.TempDir(), "fork")
	must(t, ".", "clone", "--quiet", origin, fork)
	identify(t, fork)
	do(t, fork, "rename", heron.Module, heron.Name)
	if err := commit(fork, "Make it ours"); err != nil {
		t.Fatal(err)
	}
	edit(t, origin, theirs, "Theirs")
	do(t, origin, "release", "v0.2.0")
	edit(t, fork, ours, "Ours")
	return origin, fork
}

func TestOnlyWhatBothChangedInTheSameLineConflicts(t *testing.T) {
	t.Parallel()
	origin, fork := forked(t,
		map[string][2]string{"a.txt": {"Tidewater 1", "Tidewater one"}, "b.txt": {"tidewater 1\n2", "tidewater 1\ntwo"}, "c.txt": {"Of tidewater", "Of the tidewater"}},
		map[string][2]string{"a.txt": {"7", "seven"}, "b.txt": {"heron 1\n2", "heron 1\nzwei"}})
	change(t, fork, tree{"c.txt": nil}, "Delete")
	before := must(t, fork, "rev-parse", "HEAD")
	err := run(fork, []string{"upgrade", "v0.2.0", origin}, &strings.Builder{})
	if err == nil {
		t.Fatal("there is no conflict")
	}
	said := err.Error()
	for _, want := range []string{"b.txt", "both changed the same lines", "c.txt", "you deleted it", "git cherry-pick --continue", "git cherry-pick --abort"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "a.txt") {
		t.Errorf("a file that both changed in other lines conflicts:\n%s", said)
	}
	if got := must(t, fork, "diff", "--name-only", "--diff-filter=U"); got != "b.txt\nc.txt" {
		t.Errorf("git says that these conflict: %q", got)
	}
	if got := contents(t, fork, "a.txt"); got != "Heron one\n2\n3\n4\n5\n6\nseven\n" {
		t.Errorf("what does not conflict is not merged: %q", got)
	}
	if got := contents(t, fork, "b.txt"); !strings.Contains(got, "zwei") || !strings.Contains(got, "two") || !strings.Contains(got, "<<<<<<<") {
		t.Errorf("the conflict is not shown as git shows it: %q", got)
	}

	must(t, fork, "cherry-pick", "--abort")
	if after := must(t, fork, "rev-parse", "HEAD"); after != before || must(t, fork, "status", "--porcelain") != "" {
		t.Error("giving up does not bring back what was")
	}
	if err := run(fork, []string{"upgrade", "v0.2.0"}, &strings.Builder{}); err == nil {
		t.Fatal("there is no conflict the second time")
	}
	if err := os.WriteFile(filepath.Join(fork, "b.txt"), []byte("heron 1\nboth\n3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, fork, "rm", "--quiet", "c.txt")
	must(t, fork, "add", "--all")
	must(t, fork, "-c", "core.editor=true", "cherry-pick", "--continue")
	if log := must(t, fork, "log", "-1", "--format=%B"); !strings.HasPrefix(log, "Upgrade to v0.2.0") || !strings.Contains(log, "\nIn a fork\n") {
		t.Errorf("the commit says\n%s", log)
	}
	if said := do(t, fork, "upgrade", "v0.2.0"); !strings.Contains(said, "nothing to do") {
		t.Errorf("after the conflicts are put right it says %q", said)
	}
}

func TestWhatCannotBeUpgradedIsRefused(t *testing.T) {
	t.Parallel()
	lines := map[string][2]string{"a.txt": {"3", "three"}}
	origin, fork := forked(t, lines, lines)
	refuse := func(name, why string, args ...string) {
		t.Helper()
		if got := refused(t, fork, append([]string{"upgrade"}, args...)...); !strings.Contains(got, why) {
			t.Errorf("%s: says %q and not %q", name, got, why)
		}
	}
	refuse("nothing", "say which")
	refuse("an empty version", "say which", "", origin)
	refuse("no version", "is no version", "main", origin)
	refuse("half a version", "is no version", "v0.2", origin)
	refuse("an option", "is no version", "--help", origin)
	refuse("nowhere", "nobody has said where", "v0.2.0", "")
	refuse("no repository", "cannot be fetched", "v0.2.0", filepath.Join(origin, "nothing"))
	refuse("an older version", "does not go back", "v0.0.9", origin)

	must(t, fork, "remote", "add", templateRemote, origin)
	refuse("an unknown version", `no release v0.9.0; from v0.1.0 on it has ["v0.1.0" "v0.2.0"]`, "v0.9.0")
	must(t, origin, "tag", "v0.3.0")
	refuse("a tag that make release did not make", "says that it is v0.2.0", "v0.3.0")

	change(t, fork, tree{"sub/" + templateFile: onDisk(t, fork)[templateFile]}, "A folder")
	if err := run(filepath.Join(fork, "sub"), []string{"upgrade", "v0.2.0"}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "larger repository") {
		t.Errorf("a folder of a repository: %v", err)
	}
	must(t, fork, "config", "status.showUntrackedFiles", "no") // which does not make it committed
	if err := os.WriteFile(filepath.Join(fork, "new.txt"), []byte("x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refuse("a change that is not committed", "not committed", "v0.2.0")
	if err := os.Remove(filepath.Join(fork, "new.txt")); err != nil {
		t.Fatal(err)
	}
	change(t, fork, tree{templateFile: nil}, "Forget")
	refuse("a tree that does not say what it is", "there is no "+templateFile, "v0.2.0")
}

func TestATableOfSettingsThatCannotBePrintedStaysTheForks(t *testing.T) {
	t.Parallel()
	origin, fork := forked(t, map[string][2]string{readme: {"| a |", "| theirs |"}}, map[string][2]string{readme: {"| a |", "| ours |"}})
	if said := do(t, fork, "upgrade", "v0.2.0", origin); !strings.Contains(said, "make settings when this is put right") {
		t.Errorf("it does not say that the table is the old one:\n%s", said)
	}
	if got := contents(t, fork, readme); !strings.Contains(got, "\n| ours |\n") || strings.Contains(got, "theirs") {
		t.Errorf("the README is\n%s", got)
	}
}

func TestAForksReleasesAreItsOwn(t *testing.T) {
	t.Parallel()
	releases := map[string][2]string{"api/users/released/v1.yaml": {"first", "second"}, "api/users/CHANGELOG.md": {"first", "second"}}
	origin, fork := forked(t, releases, map[string][2]string{"a.txt": {"7", "seven"}})
	change(t, fork, tree{"api/users/released/v1.yaml": []byte("ours\n")}, "Release")
	do(t, fork, "upgrade", "v0.2.0", origin)
	if got := contents(t, fork, "api/users/released/v1.yaml"); got != "ours\n" {
		t.Errorf("the contract as the fork released it is %q", got)
	}
	if got := contents(t, fork, "api/users/CHANGELOG.md"); got != "" {
		t.Errorf("the fork, which has released nothing, says that it changed %q", got)
	}
}

// TestACloneThatKeptItsNameIsUpgradedToo is for who takes the template as it is.
func TestACloneThatKeptItsNameIsUpgradedToo(t *testing.T) {
	t.Parallel()
	origin := repository(t, small())
	do(t, origin, "release", "v0.1.0")
	clone := filepath.Join(t.TempDir(), "clone")
	must(t, ".", "clone", "--quiet", origin, clone)
	identify(t, clone)
	edit(t, clone, map[string][2]string{"a.txt": {"7", "seven"}}, "Ours")
	edit(t, origin, map[string][2]string{"a.txt": {"Tidewater 1", "Tidewater one"}}, "Theirs")
	do(t, origin, "release", "v0.2.0")
	do(t, clone, "upgrade", "v0.2.0", origin)
	if got := contents(t, clone, "a.txt"); got != "Tidewater one\n2\n3\n4\n5\n6\nseven\n" {
		t.Errorf("it has %q", got)
	}
	if made, err := onDisk(t, clone).template(); err != nil || made.Version != "v0.2.0" || made.Fork {
		t.Errorf("the version file says %+v, %v", made, err)
	}
}
