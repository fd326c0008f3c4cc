package migrations

import (
	"io/fs"
	"testing"
)

// Use puts other files in the place of the embedded ones until the test ends. Such a test must not run beside others.
func Use(t *testing.T, other fs.FS) {
	old := files
	files = other
	t.Cleanup(func() { files = old })
}

// RiverVersion is the version of River's tables that is pinned.
const RiverVersion = riverVersion

// What the check of the files does one after the other.
var (
	Open    = open
	Prepare = prepare
	Enter   = login
)

// Files are those that Use put in place, or the embedded ones.
func Files() fs.FS { return files }
