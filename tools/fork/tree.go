package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tree is the files of a checkout by their slash-separated paths, as git sees them: what it tracks, and what is new and not ignored.
type tree map[string][]byte

// template is .template.json: which release of the template this tree descends from, and what was done to it since, so that an upgrade
// can do the same to a newer one.
type template struct {
	Version string   `json:"version"` // vX.Y.Z
	Module  string   `json:"module"`  // path of the Go module
	Name    string   `json:"name"`
	Removed []string `json:"removed"`        // modules of the template
	Made    []string `json:"made,omitempty"` // modules that came since
	Fork    bool     `json:"fork,omitempty"` // renamed: its releases are its own, and its version is the template's all the same
}

const templateFile = ".template.json"

// read reads the checkout at root.
func read(root string) (tree, error) {
	out, err := git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	t := tree{}
	for name := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		file := filepath.Join(root, filepath.FromSlash(name))
		if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() { // a link, a repository in this one: they stay as they are
			continue
		}
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) { // deleted and not yet committed
			continue
		}
		if err != nil {
			return nil, err
		}
		t[name] = content
	}
	return t, nil
}

// write makes the checkout at root what t is, where before is what it was: files are written, and deleted with their empty folders. A new
// file takes the mode of none; an old one keeps its own.
func (t tree) write(root string, before tree) error {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if bytes.Equal(t[name], before[name]) && before[name] != nil {
			continue
		}
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, t[name], 0o644); err != nil {
			return err
		}
	}
	for name := range before {
		if _, stays := t[name]; stays {
			continue
		}
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for dir := filepath.Dir(file); dir != root && os.Remove(dir) == nil; dir = filepath.Dir(dir) { // only empty ones go
		}
	}
	return nil
}

// template reads .template.json.
func (t tree) template() (template, error) {
	var made template
	err := json.Unmarshal(t[templateFile], &made)
	if err != nil || made.Module == "" || made.Name == "" || made.Version == "" {
		return made, errors.Join(fmt.Errorf("%s does not say version, module and name", templateFile), err)
	}
	return made, nil
}

// set writes .template.json.
func (t tree) set(made template) {
	if made.Removed == nil {
		made.Removed = []string{}
	}
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil { // strings
		panic(err)
	}
	t[templateFile] = append(text, '\n')
}

// clean refuses a checkout with changes that are not committed: what a command does to it must be one thing to look at and to undo.
func clean(root string) error {
	out, err := uncommitted(root)
	if err == nil && out != "" {
		err = fmt.Errorf("there are changes that are not committed; commit or stash them first:\n%s", out)
	}
	return err
}

// uncommitted lists what differs from the last commit, and what is new, though somebody's git is told not to show it.
func uncommitted(root string) (string, error) {
	return git(root, "status", "--porcelain", "--untracked-files=normal")
}

func git(root string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "LC_ALL=C") // it is read below
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("there is no git here, which knows what belongs to the tree and how to take a change back")
	}
	if strings.Contains(stderr.String(), "not a git repository") {
		return "", errors.New("this is no checkout of git, which knows what belongs to the tree and how to take a change back:\n  git init && git add --all && git commit -m Begin")
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
