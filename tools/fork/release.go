package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"strings"

	"golang.org/x/mod/semver"
)

// atRelease are the targets of make that write what has to be kept of a release, for later ones to be compared with. They get its VERSION.
var atRelease = []string{"snapshot"}

// release is make release: it takes the changelog at its word, writes what a release keeps of itself, commits, and tags.
func release(root string, args []string, out io.Writer) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New("say which: make release VERSION=v1.2.3")
	}
	version := args[0]
	before, err := read(root)
	if err := errors.Join(err, goodVersion(version), clean(root)); err != nil {
		return err
	}
	tags, err := git(root, "tag", "--merged", "HEAD")
	if err != nil {
		return err
	}
	for tag := range strings.FieldsSeq(tags) {
		if semver.Compare(tag, version) >= 0 { // what is no version is less than any
			return fmt.Errorf("%s is not newer than %s, which is a tag in this history already (git tag -d removes one that is not yours)", version, tag)
		}
	}
	text := said(string(before[changelogFile]), version)
	if text == "" {
		return fmt.Errorf(`%s says nothing of %s: give what stands under "## Unreleased" the heading "## %[2]s - date"`, changelogFile, version)
	}
	after, err := setVersion(maps.Clone(before), version)
	if err != nil {
		return err
	}
	for _, target := range atRelease {
		if !strings.Contains(string(before["Makefile"]), "\n"+target+":") {
			continue
		}
		if said, err := command(root, "make", target, "VERSION="+version); err != nil {
			return fmt.Errorf("make %s refuses the release: %w\n%s", target, err, said)
		}
	}
	if err := after.write(root, before); err != nil {
		return err
	}
	if dirty, err := uncommitted(root); err != nil {
		return err
	} else if dirty != "" {
		if err := commit(root, "Release "+version); err != nil {
			return err
		}
	}
	if _, err := git(root, "tag", "--annotate", "--cleanup=verbatim", "--message", version+"\n\n"+text, version); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is tagged. To publish it: git push origin HEAD %[1]s\n", version)
	return nil
}

// setVersion writes the template's version into the version file, where a fork finds it. A fork's own version is its tag alone: its file
// goes on to say which release of the template it has.
func setVersion(t tree, version string) (tree, error) {
	made, err := t.template()
	if err != nil || made.Fork {
		return t, err
	}
	if semver.Compare(version, made.Version) < 0 {
		return t, fmt.Errorf("%s is older than %s, which %s says", version, made.Version, templateFile)
	}
	made.Version, made.Made = version, nil // what was made here is the template's now
	t.set(made)
	return t, nil
}

// commit commits everything that has changed.
func commit(root, message string) error {
	if _, err := git(root, "add", "--all"); err != nil {
		return err
	}
	_, err := git(root, "commit", "--quiet", "--message", message)
	return err
}

// command runs a program in the checkout and returns what it says.
func command(root string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = root
	said, err := cmd.CombinedOutput()
	return string(said), err
}
