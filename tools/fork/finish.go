package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// finish proves the tree and writes it.
func (t tree) finish(root string, before tree, p plan, out io.Writer) error {
	fmt.Fprintln(out, "making the code and seeing that it compiles (a minute where nothing is cached)")
	if err := t.prove(root, before, p); err != nil {
		return err
	}
	return t.writeOrUndo(root, before)
}

// writeOrUndo writes the tree, or takes back what it wrote when the disk is full, say.
func (t tree) writeOrUndo(root string, before tree) error {
	err := t.write(root, before)
	if err == nil {
		return nil
	}
	written := maps.Clone(t)
	maps.DeleteFunc(written, func(name string, _ []byte) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return err != nil
	})
	return errors.Join(err, before.write(root, written))
}

// prove makes the code of the contract, sees that the program and the tests of what is touched compile, and brings the README up to date. It writes
// nothing to root.
func (t tree) prove(root string, before tree, p plan) error {
	scratch, err := os.MkdirTemp("", "fork-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := t.generate(root, scratch, p); err != nil {
		return fmt.Errorf("the generator cannot read the contract, so nothing is written: %w", err)
	}
	for _, folder := range []string{"api/" + p.Module + "/v1", "services/" + p.Module, "services"} {
		if twice := t.declaredTwice(folder); twice != "" && twice != before.declaredTwice(folder) { // files for one system each do that
			return fmt.Errorf("%q cannot be a name: in %s, %s; take a longer one, such as invoice-%[1]s, or call the other otherwise", p.Many, folder, twice)
		}
	}
	overlay, err := t.overlay(root, scratch, before)
	if err != nil {
		return err
	}
	touched := []string{"./api/" + p.Module + "/...", "./migrations", "./services", "./services/" + p.Module}
	if p.Auth {
		touched = append(touched, "./services/auth")
	}
	if _, err := goes(root, scratch, append([]string{"list", "-overlay=" + overlay, "-export", "-test"}, touched...)...); err != nil {
		return fmt.Errorf("with %s in it the program does not compile, so nothing is written; where a word is taken, a longer name helps: %w", p.Many, err)
	}
	if p.First {
		table, err := goes(root, scratch, "run", "-overlay="+overlay, "./services", "config")
		if err != nil {
			return fmt.Errorf("the program does not print its settings, so nothing is written: %w", err)
		}
		if err := t.edit(readme, func(content []byte) ([]byte, error) { return settingsIn(content, table), nil }); err != nil {
			return err
		}
	}
	return nil
}

const readme = "README.md"

// settingsTable is where the README has the table of settings.
var settingsTable = regexp.MustCompile(`(?s)<!-- settings -->\n(.*)<!-- /settings -->`)

// settingsIn puts the table of settings there.
func settingsIn(page []byte, table string) []byte {
	return settingsTable.ReplaceAllFunc(page, func([]byte) []byte {
		return []byte("<!-- settings -->\n" + table + "<!-- /settings -->")
	})
}

// settings is make settings: the README's table as the program prints it now.
func settings(root string, args []string, out io.Writer) error {
	if len(args) > 0 {
		return errors.New("make settings takes nothing")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(root, readme))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !settingsTable.Match(page) {
		fmt.Fprintf(out, "%s has no table between <!-- settings --> and <!-- /settings -->: there is nothing to do\n", readme)
		return nil
	}
	table, err := goes(root, root, "run", "-trimpath", "./services", "config")
	if err != nil {
		return fmt.Errorf("the program does not print its settings: %w", err)
	}
	return os.WriteFile(filepath.Join(root, readme), settingsIn(page, table), 0o644)
}

var output = regexp.MustCompile(`(?m)^output: .*$`)

// generate makes gen.go of the module's contract, as make generate does, in another place.
func (t tree) generate(root, scratch string, p plan) error {
	folder := "api/" + p.Module + "/v1/"
	spec, config, made := filepath.Join(scratch, "openapi.yaml"), filepath.Join(scratch, "config.yaml"), filepath.Join(scratch, "gen.go")
	err := errors.Join(
		os.WriteFile(spec, t[folder+"openapi.yaml"], 0o600),
		os.WriteFile(config, output.ReplaceAll(t[folder+"config.yaml"], []byte("output: "+filepath.ToSlash(made))), 0o600))
	if err != nil {
		return err
	}
	if _, err := goes(root, scratch, "tool", "-modfile=tools/generator/go.mod", "oapi-codegen", "-config", config, spec); err != nil {
		return err
	}
	t[folder+"gen.go"], err = os.ReadFile(made)
	return err
}

// overlay writes what is new or changed to a folder, and the file by which the go command reads it from there as if it stood in the tree.
func (t tree) overlay(root, folder string, before tree) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if was, there := before[name]; there && bytes.Equal(was, t[name]) {
			continue
		}
		file := filepath.Join(folder, "tree", filepath.FromSlash(name))
		replace[filepath.Join(root, filepath.FromSlash(name))] = file
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, t[name], 0o600)); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "overlay.json")
	return file, os.WriteFile(file, list, 0o600)
}

// goes runs the go command in the tree. Its error says what the command said, with the names that files have in the tree.
func goes(root, scratch string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.ReplaceAll(stderr.String(), filepath.Join(scratch, "tree")+string(filepath.Separator), "")
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(said))
	}
	return stdout.String(), nil
}
