package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

const (
	templateRemote = "template"              // the name of git's for where the template is
	templateTags   = "refs/template/"        // its tags, apart from the fork's own
	upgradeRef     = "refs/template-upgrade" // what is being merged
)

// upgrade is make upgrade: the changes between two releases of the template, merged into the fork by git.
//
// The two have no common history that helps: in the fork every second line has another name, and modules are gone. So the same is done
// to both releases as was done to the fork, and what differs between the results is merged as one commit is cherry-picked. Then both
// sides say the same where neither has changed anything.
func upgrade(root string, args []string, out io.Writer) error {
	if len(args) == 0 || len(args) > 2 || args[0] == "" {
		return errors.New("say which: make upgrade VERSION=v1.2.3, and the first time FROM=the git address of the template")
	}
	u, err := begin(root, args[0])
	if err != nil {
		return err
	}
	if u.made.Version == u.version {
		fmt.Fprintf(out, "this is %s already: there is nothing to do\n", u.version)
		return nil
	}
	if semver.Compare(u.version, u.made.Version) < 0 {
		return fmt.Errorf("%s is older than %s, which this tree has; an upgrade does not go back", u.version, u.made.Version)
	}
	if err := clean(root); err != nil {
		return err
	}
	if err := fetch(root, slices.Concat(args, []string{""})[1]); err != nil {
		return err
	}
	if err := u.prepare(); err != nil {
		return err
	}
	for _, line := range u.moved {
		fmt.Fprintln(out, line)
	}
	if err := u.merge(); err != nil {
		return err
	}
	if err := u.finish(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "this is %s of the template now, in one commit. Try it: make check. To undo it: git reset --hard HEAD~1\n", u.version)
	if u.notes != "" {
		fmt.Fprintf(out, "\nWhat has changed, and what a fork has to do:\n\n%s\n", u.notes)
	}
	return nil
}

// upgrading is one upgrade under way.
type upgrading struct {
	root, version string
	made          template // the fork's
	ours, theirs  tree
	notes         string   // the changelog of the template between the two releases
	moved         []string // migrations that got another number
	generate      bool     // the code of the contracts has to be made again
	settings      bool     // the README's table of settings too
}

func begin(root, version string) (*upgrading, error) {
	if err := goodVersion(version); err != nil {
		return nil, err
	}
	if below, err := git(root, "rev-parse", "--show-prefix"); err != nil {
		return nil, err
	} else if strings.TrimSpace(below) != "" {
		return nil, errors.New("this is a folder of a larger repository; an upgrade needs a repository of its own")
	}
	ours, _, err := treeAt(root, "HEAD")
	if err != nil {
		return nil, err
	}
	if _, has := ours[templateFile]; !has {
		return nil, fmt.Errorf("there is no %s, which says what release of the template this is", templateFile)
	}
	made, err := ours.template()
	return &upgrading{root: root, version: version, made: made, ours: ours}, err
}

// fetch brings the template's tags, and remembers where they came from.
func fetch(root, address string) error {
	known, err := git(root, "remote", "get-url", templateRemote)
	known = strings.TrimSpace(known)
	if address == "" && err != nil {
		return errors.New("nobody has said where the template is: add FROM=its git address or its path, this once")
	}
	if address == "" {
		address = known
	}
	if _, err := git(root, "fetch", "--quiet", "--no-tags", "--", address, "+refs/tags/*:"+templateTags+"*"); err != nil {
		return fmt.Errorf("the template cannot be fetched from %s: %w", address, err)
	}
	switch {
	case known == "":
		_, err = git(root, "remote", "add", "--no-tags", templateRemote, address)
	case known != address:
		_, err = git(root, "remote", "set-url", templateRemote, address)
	default:
		return nil
	}
	return err
}

// prepare records the two releases as this fork would have them, one commit after the other.
func (u *upgrading) prepare() error {
	base, err := u.release(u.made.Version)
	if err != nil {
		return err
	}
	theirs, err := u.release(u.version)
	if err != nil {
		return err
	}
	u.notes = notes(theirs.message, u.made.Version, u.version)
	u.generate = differ(base.tree, theirs.tree, "api/", "tools/generator/") && differ(base.tree, u.ours, "api/")
	u.moved = renumber(base.tree, u.ours, theirs.tree)
	u.settings = settleSettings(base.tree, u.ours, theirs.tree)
	settle(base.tree, u.ours, theirs.tree)

	next := u.made
	next.Version = u.version
	base.tree[templateFile] = u.ours[templateFile]
	theirs.tree.set(next)
	base.message = "The template at " + u.made.Version
	theirs.message = "Upgrade to " + u.version
	if u.notes != "" { // a line that begins with # is no comment of git's
		theirs.message += "\n\n" + regexp.MustCompile(`(?m)^#+ `).ReplaceAllString(u.notes, "")
	}
	u.theirs = theirs.tree
	return record(u.root, upgradeRef, base, theirs)
}

// release is a release of the template as the fork would have it: under the fork's names and without the modules that it removed. What is
// about releases stays the fork's own; the template's changelog becomes the message.
func (u *upgrading) release(version string) (snapshot, error) {
	t, m, err := treeAt(u.root, templateTags+version+"^{commit}")
	if err != nil {
		return snapshot{}, u.unknown(version)
	}
	made, err := t.template()
	if err == nil && made.Version != version {
		err = fmt.Errorf("the template's tag %s says that it is %s: make release did not make it", version, made.Version)
	}
	s := snapshot{t, m, string(t[changelogFile])}
	if u.made.Fork && err == nil {
		speller := newSpeller(made, u.made)
		s.tree, err = renamed(t, u.made)
		s.modes, s.message = modes{}, speller.text(s.message)
		for name, mode := range m {
			s.modes[speller.text(name)] = mode
		}
		dropReleases(s.tree)
	}
	if err == nil {
		s.tree, err = withoutModules(s.tree, u.made.Removed)
	}
	return s, err
}

// unknown says which releases there are.
func (u *upgrading) unknown(version string) error {
	tags, err := git(u.root, "for-each-ref", "--format=%(refname:lstrip=2)", templateTags)
	there := slices.DeleteFunc(strings.Fields(tags), func(tag string) bool { return semver.Compare(tag, u.made.Version) < 0 })
	slices.SortFunc(there, semver.Compare)
	return errors.Join(fmt.Errorf("the template has no release %s; from %s on it has %q", version, u.made.Version, there), err)
}

// withoutModules is the tree without modules; one that the template no longer has, or never had, is gone already.
func withoutModules(t tree, modules []string) (tree, error) {
	for _, m := range modules {
		if !slices.Contains(t.modules(), m) {
			continue
		}
		var err error
		if t, err = removed(t, m); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// statuses are what git says of a file that it could not merge.
var statuses = map[string]string{
	"UU": "both changed the same lines", "AA": "both made a file of this name",
	"DU": "you deleted it, the template changed it", "UD": "you changed it, the template deleted it",
}

// merge picks the difference onto the fork's branch. What git cannot merge it leaves in the checkout, in its ordinary way.
func (u *upgrading) merge() error {
	_, failed := git(u.root, "cherry-pick", upgradeRef)
	if failed == nil {
		return nil
	}
	listed, err := git(u.root, "status", "--porcelain")
	if err != nil {
		return err
	}
	var conflicts strings.Builder
	for line := range strings.Lines(listed) {
		if code := line[:2]; strings.Contains(code, "U") || code == "AA" || code == "DD" {
			fmt.Fprintf(&conflicts, "  %-40s %s\n", strings.TrimSpace(line[3:]), statuses[code])
		}
	}
	if conflicts.Len() == 0 {
		return failed
	}
	return fmt.Errorf(`%s is merged, except where the fork and the template differ:

%s
Put those right (git add or git rm says that one is), and then:
  make generate && go mod tidy && make settings && git add --all && git cherry-pick --continue && make check
To give up, as if nothing had been: git cherry-pick --abort`, u.version, conflicts.String())
}

// finish makes what is made from the merged files, into the same commit.
func (u *upgrading) finish(out io.Writer) error {
	if u.generate {
		if said, err := command(u.root, "make", "generate"); err != nil {
			return fmt.Errorf("%s is merged and committed, but make generate fails on the merged contracts: put them right, then git commit --amend\n%s", u.version, said)
		}
	}
	for name := range u.theirs {
		if path.Base(name) != "go.mod" {
			continue
		}
		tidy := []string{"go", "-C", path.Dir(name), "mod", "tidy"}
		if said, err := command(u.root, tidy...); err != nil { // nothing that builds depends on it
			fmt.Fprintf(out, "%s did not work; run it when there is a network:\n%s", strings.Join(tidy, " "), said)
		}
	}
	if u.settings {
		if err := settings(u.root, nil, out); err != nil { // nothing that builds depends on this either
			fmt.Fprintf(out, "the table of settings in %s is the old one; make settings when this is put right: %v\n", readme, err)
		}
	}
	if _, err := git(u.root, "add", "--all"); err != nil {
		return err
	}
	if _, err := git(u.root, "commit", "--quiet", "--amend", "--no-edit", "--no-verify"); err != nil {
		return err
	}
	_, err := git(u.root, "update-ref", "-d", upgradeRef)
	return err
}
