package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// modes are what git knows of files but their content: 100755 is a program, 120000 a link.
type modes map[string]string

// treeAt reads a commit, whatever the checkout has.
func treeAt(root, commit string) (tree, modes, error) {
	listed, err := git(root, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	var objects bytes.Buffer
	t, m := tree{}, modes{}
	for line := range strings.SplitSeq(strings.TrimSuffix(listed, "\x00"), "\x00") { // 100644 blob <object><TAB>path
		about, name, _ := strings.Cut(line, "\t")
		if fields := strings.Fields(about); len(fields) == 3 && fields[1] == "blob" {
			names, m[name] = append(names, name), fields[0]
			fmt.Fprintln(&objects, fields[2])
		}
	}
	contents, err := gitWith(root, &objects, "cat-file", "--batch")
	for _, name := range names {
		header, rest, _ := bytes.Cut(contents, []byte("\n")) // <object> blob <size>
		size, err := strconv.Atoi(string(header[bytes.LastIndexByte(header, ' ')+1:]))
		if err != nil || len(rest) < size+1 {
			return nil, nil, fmt.Errorf("git cat-file: %s at %s cannot be read", name, commit)
		}
		t[name], contents = rest[:size:size], rest[size+1:]
	}
	return t, m, err
}

// snapshot is a commit to be made.
type snapshot struct {
	tree    tree
	modes   modes
	message string
}

// escape writes a path as fast-import reads it between quotes.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// record makes commits out of trees, each the child of the one before, and leaves ref at the last one. The checkout does not change, and
// no branch gets to see them.
func record(root, ref string, snapshots ...snapshot) error {
	who, err := git(root, "var", "GIT_COMMITTER_IDENT")
	if err != nil {
		return err
	}
	var in bytes.Buffer
	data := func(content []byte) { fmt.Fprintf(&in, "data %d\n%s\n", len(content), content) }
	for i, s := range snapshots {
		fmt.Fprintf(&in, "commit %s\nmark :%d\ncommitter %s\n", ref, i+1, strings.TrimSpace(who))
		data([]byte(s.message))
		if i > 0 {
			fmt.Fprintf(&in, "from :%d\n", i)
		}
		in.WriteString("deleteall\n")
		for _, name := range slices.Sorted(maps.Keys(s.tree)) {
			mode := s.modes[name]
			if mode == "" {
				mode = "100644"
			}
			fmt.Fprintf(&in, "M %s inline \"%s\"\n", mode, escape.Replace(name))
			data(s.tree[name])
		}
	}
	_, err = gitWith(root, &in, "fast-import", "--quiet", "--force")
	return err
}

// gitWith is git with something to read.
func gitWith(root string, in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("git %s: %w", args[0], err), errors.New(strings.TrimSpace(stderr.String())))
	}
	return stdout.Bytes(), nil
}
