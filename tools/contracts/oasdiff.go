package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// noticeDays is how long before its sunset an operation is said to go, at the least, from the day it is compared until it is released.
const noticeDays = "90"

// severity is where we are stricter than oasdiff: what our callers may rely on and an OpenAPI document calls optional (a field that is not
// required, a declared header, a status that tells something, a default), what goes without a date, and what generated clients name or type
// in another way.
//
//go:embed severity.txt
var severity []byte

// nothing stands for a contract that is not there.
const nothing = "openapi: 3.0.3\ninfo: {title: nothing, version: 0.0.0}\npaths: {}\n"

// oasdiff runs the program of that name.
type oasdiff struct{ program, dir string }

func newOasdiff(program string) (*oasdiff, error) {
	if program == "" {
		return nil, errors.New("OASDIFF does not name the program oasdiff: use make breaking, make api-changelog or make snapshot")
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "contracts-")
	if err != nil {
		return nil, err
	}
	d := &oasdiff{program, dir}
	err = errors.Join(os.WriteFile(d.file("severity.txt"), severity, 0o600), os.WriteFile(d.file("nothing.yaml"), []byte(nothing), 0o600))
	return d, err
}

func (d *oasdiff) file(name string) string { return filepath.Join(d.dir, name) }

func (d *oasdiff) close() { _ = os.RemoveAll(d.dir) }

// added is the id of an operation that was not there before.
const added = "endpoint-added"

// change is one thing that a caller may notice.
type change struct {
	ID, Text, Operation, Path, Section string
	Level                              int // 1 nobody is broken, 2 perhaps somebody, 3 somebody
}

func (c change) breaks() bool { return c.Level > 1 }

func (c change) String() string {
	if c.Operation == "" {
		return "`" + c.Section + "`: " + c.Text
	}
	return fmt.Sprintf("`%s %s`: %s", c.Operation, c.Path, c.Text)
}

// changes compares two contracts, "" for none, and lists what changed in an order that depends on nothing else.
func (d *oasdiff) changes(before, after string) ([]change, error) {
	none := d.file("nothing.yaml")
	cmd := exec.Command(d.program, "changelog", cmp.Or(before, none), cmp.Or(after, none), "--format", "json", "--flatten-params",
		"--severity-levels", d.file("severity.txt"), "--deprecation-days-stable", noticeDays)
	cmd.Dir = d.dir // and not where somebody's .oasdiff.yaml may lie
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("oasdiff on %s and %s: %w: %s", before, after, err, strings.TrimSpace(stderr.String()))
	}
	var list []change
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("oasdiff answers something else than a list: %w", err)
	}
	if before != "" && after != "" {
		more, err := beyond(before, after)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	slices.SortStableFunc(list, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Text, b.Text))
	})
	return list, nil
}
