package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A tree is what the files of a checkout looked like at one moment, by their paths from its root.
//
// It is read again and again, because that costs little (a few hundred files, some milliseconds of a second's tenth) and works on
// every system and file system, in containers too, where notifications get lost.
type tree map[string]stamp

type stamp struct {
	at   time.Time
	size int64
}

// pause is how often the tree is read, and how long it has to be quiet: editors save in bursts.
const pause = 100 * time.Millisecond

// read looks at what a server could be made of. Tests and prose are not, nor what the go command passes over: names that begin with a
// dot or an underscore, which also are most editors' temporary files.
func read(root string) tree {
	t := tree{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return nil //nolint:nilerr // what vanishes under our eyes is not there
		}
		name := d.Name()
		hidden := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
		switch {
		case d.IsDir() && (hidden || name == "testdata" || name == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || hidden || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".md") || strings.HasSuffix(name, "~"):
			return nil
		}
		if info, err := d.Info(); err == nil {
			rel, _ := filepath.Rel(root, path)
			t[filepath.ToSlash(rel)] = stamp{info.ModTime(), info.Size()}
		}
		return nil
	})
	return t
}

// changed names what is new, other or gone in now.
func (t tree) changed(now tree) (names []string) {
	for name, s := range now {
		if old, known := t[name]; !known || !old.at.Equal(s.at) || old.size != s.size {
			names = append(names, name)
		}
	}
	for name := range t {
		if _, stays := now[name]; !stays {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// saved ends an edition.
type saved struct{ names []string }

func (s saved) Error() string {
	if len(s.names) > 3 {
		return fmt.Sprintf("%d files", len(s.names))
	}
	return strings.Join(s.names, ", ")
}

// edition is a context that ends when the checkout is not any more as seen, and quiet again.
func edition(ctx context.Context, root string, seen tree) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		for w := (watcher{seen, seen}); ctx.Err() == nil; time.Sleep(pause) {
			if names := unignored(root, w.look(read(root))); len(names) > 0 {
				end(saved{names})
				return
			}
		}
	}()
	return ctx, func() { end(context.Canceled) }
}

// watcher waits for the end of a burst: for two looks that are alike.
type watcher struct{ seen, last tree }

// look returns what has changed when it is quiet.
func (w *watcher) look(now tree) (names []string) {
	if len(w.last.changed(now)) == 0 {
		names = w.seen.changed(now)
		w.seen = now
	}
	w.last = now
	return names
}

// unignored leaves out what git ignores. Without git nothing is ignored: a build for nothing does no harm.
func unignored(root string, names []string) []string {
	if len(names) == 0 {
		return nil
	}
	cmd := exec.Command("git", "-C", root, "check-ignore", "-z", "--stdin")
	cmd.Stdin = strings.NewReader(strings.Join(names, "\x00"))
	out, _ := cmd.Output()
	ignored := strings.Split(string(out), "\x00")
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(ignored, name) })
}

// sum is a fingerprint of files' names and content; what is missing counts as missing.
func sum(root string, names ...string) string {
	h := sha256.New()
	for _, name := range names {
		fmt.Fprintln(h, name)
		if file, err := os.Open(filepath.Join(root, filepath.FromSlash(name))); err == nil {
			n, _ := io.Copy(h, file)
			fmt.Fprintln(h, n)
			_ = file.Close()
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// below lists the files of a folder, in order.
func (t tree) below(folder string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, folder+"/") {
			names = append(names, name)
		}
	}
	return names
}
