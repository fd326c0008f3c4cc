package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAReleaseOfTheTemplateSetsItsVersionAndTags(t *testing.T) {
	t.Parallel()
	root := repository(t, small())
	before := must(t, root, "rev-parse", "HEAD")
	do(t, root, "release", "v0.1.0")
	if must(t, root, "rev-parse", "v0.1.0^{commit}") != before {
		t.Error("a release that changes nothing makes a commit")
	}
	do(t, root, "release", "v0.2.0")
	if made, err := onDisk(t, root).template(); err != nil || made.Version != "v0.2.0" {
		t.Errorf("the version file says %+v, %v", made, err)
	}
	if must(t, root, "rev-parse", "v0.2.0^{commit}") != must(t, root, "rev-parse", "HEAD") || must(t, root, "log", "-1", "--format=%s") != "Release v0.2.0" {
		t.Error("the tag is not at the commit of the release")
	}
	if said := must(t, root, "tag", "--list", "--format=%(contents)", "v0.2.0"); said != "v0.2.0\n\n### In a fork\n\n- Tidewater rises." {
		t.Errorf("the tag says %q", said)
	}
	if dirty := must(t, root, "status", "--porcelain"); dirty != "" {
		t.Errorf("it leaves changes behind:\n%s", dirty)
	}
}

func TestAReleaseOfAForkLeavesTheTemplatesVersion(t *testing.T) {
	t.Parallel()
	root := repository(t, small())
	do(t, root, "rename", heron.Module, heron.Name)
	if err := commit(root, "Make it ours"); err != nil {
		t.Fatal(err)
	}
	if why := refused(t, root, "release", "v1.0.0"); !strings.Contains(why, "says nothing of v1.0.0") {
		t.Errorf("without a word in the changelog it says %q", why)
	}
	edit(t, root, map[string][2]string{changelogFile: {"## Unreleased", "## v1.0.0 - 2026-05-06"}}, "Say what is in it")
	do(t, root, "release", "v1.0.0")
	if made, err := onDisk(t, root).template(); err != nil || made.Version != "v0.1.0" {
		t.Errorf("the version file says %+v, %v", made, err)
	}
	must(t, root, "rev-parse", "v1.0.0^{commit}")
}

func TestAReleaseKeepsWhatLaterOnesAreComparedWith(t *testing.T) {
	t.Parallel()
	files := small()
	files["Makefile"] = []byte("help:\n\t@echo help\n\nsnapshot:\n\t@test ! -f broken || { echo callers break; exit 1; }\n\t@mkdir -p kept && echo $(VERSION) >kept/version\n")
	root := repository(t, files)
	do(t, root, "release", "v0.2.0")
	if kept := must(t, root, "show", "v0.2.0:kept/version"); kept != "v0.2.0" {
		t.Errorf("the release keeps %q", kept)
	}
	change(t, root, tree{"broken": {}, changelogFile: []byte("## v0.3.0\n\n- More.\n")}, "Break")
	if why := refused(t, root, "release", "v0.3.0"); !strings.Contains(why, "callers break") {
		t.Errorf("a release that make snapshot refuses: says %q", why)
	}
}

func TestWhatCannotBeReleasedIsRefused(t *testing.T) {
	t.Parallel()
	root := repository(t, small())
	do(t, root, "release", "v0.2.0")
	for version, want := range map[string]string{
		"": "say which", "0.3.0": "is no version", "v0.3": "is no version", "v0.3.0+x": "is no version",
		"v0.2.0": "not newer than v0.2.0", "v0.1.0": "not newer than v0.2.0", "v0.3.0": "says nothing of v0.3.0",
	} {
		if why := refused(t, root, "release", version); !strings.Contains(why, want) {
			t.Errorf("%q: says %q and not %q", version, why, want)
		}
	}
	must(t, root, "tag", "--delete", "v0.2.0")
	if why := refused(t, root, "release", "v0.1.0"); !strings.Contains(why, "older than v0.2.0") {
		t.Errorf("a version behind the version file: says %q", why)
	}
	if err := os.WriteFile(filepath.Join(root, "a.txt"), []byte("x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := refused(t, root, "release", "v0.2.0"); !strings.Contains(why, "not committed") {
		t.Errorf("with a change that is not committed it says %q", why)
	}
}

func TestTheChangelogHasTheReleaseOfTheVersionFile(t *testing.T) {
	t.Parallel()
	here := checkedOut(t)
	made, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	if said := said(string(here[changelogFile]), made.Version); said == "" && !made.Fork {
		t.Errorf("%s says nothing of %s", changelogFile, made.Version)
	}
}

func TestNotesAreThoseOfTheReleasesBetween(t *testing.T) {
	t.Parallel()
	text := "# Changelog\n\n## Unreleased\n\n- Soon.\n\n## v0.10.0 - 2026-10-01\n\n- Ten.\n\n### In a fork\n\n- Do.\n\n## v0.9.0\n\n- Nine.\n\n## v0.2.0\n\n- Two.\n"
	if got, want := notes(text, "v0.2.0", "v0.10.0"), "## v0.10.0 - 2026-10-01\n\n- Ten.\n\n### In a fork\n\n- Do.\n\n## v0.9.0\n\n- Nine."; got != want {
		t.Errorf("they are %q and not %q", got, want)
	}
	if got, want := said(text, "v0.10.0"), "- Ten.\n\n### In a fork\n\n- Do."; got != want {
		t.Errorf("one is %q and not %q", got, want)
	}
}
