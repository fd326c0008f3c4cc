package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAListOfGoGetsOneMoreLine(t *testing.T) {
	t.Parallel()
	const region = "\t// only with invoices:\n\t\"c\",\n\t// end invoices\n"
	for _, c := range []struct{ what, list, key, want string }{
		{"on one line", `var public = []string{"a", "b"}`, "", "var public = []string{\"a\", \"b\",\n" + region + "}"},
		{"on lines of its own", "var public = []string{\n\t\"a\",\n}", "", "var public = []string{\n\t\"a\",\n" + region + "}"},
		{"with nothing in it", `var public = []string{}`, "", "var public = []string{\n" + region + "}"},
		{"with a comment at its end", "var public = []string{\n\t\"a\", // the first\n\t// end users\n}", "", "// end users\n" + region + "}"},
		{"with the region in it", "var public = []string{\n\t// only with invoices:\n\t\"a\",\n\t// end invoices\n\t\"b\",\n}", "",
			"\t\"a\",\n\t\"c\",\n\t// end invoices\n\t\"b\",\n}"},
		{"under a key", "var public = map[string][]string{\n\tone: {\"a\"},\n\ttwo: {\"b\"},\n}", "one", "\tone: {\"a\",\n"},
	} {
		made, err := inLiteral([]byte("package x\n\n"+c.list+"\n"), "public", c.key, "invoices", `"c",`)
		if err != nil || !strings.Contains(string(made), c.want) {
			t.Errorf("%s: %v\n%s", c.what, err, made)
		}
	}
	for _, source := range []string{"package x\n", "package x\n\nvar public = others\n", "package x\n\nvar public = []string{one}\n"} {
		key := ""
		if strings.Contains(source, "one") {
			key = "one"
		}
		if _, err := inLiteral([]byte(source), "public", key, "invoices", `"c",`); err == nil || !strings.Contains(err.Error(), "has no list") {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestAnImportIsAddedInOrder(t *testing.T) {
	t.Parallel()
	const source = "package x\n\nimport (\n\t\"fmt\"\n\n\tav1 \"x.org/y/api/a/v1\"\n\tcv1 \"x.org/y/api/c/v1\"\n\t\"x.org/y/pkg\"\n)\n"
	made, err := withImport([]byte(source), "x.org/y", "bv1", "x.org/y/api/b/v1")
	if want := "/a/v1\"\n\tbv1 \"x.org/y/api/b/v1\"\n\tcv1 "; err != nil || !strings.Contains(string(made), want) {
		t.Errorf("%v\n%s", err, made)
	}
	if _, err := withImport([]byte(source), "z.org", "bv1", "z.org/b"); err == nil {
		t.Error("a file that imports nothing of ours has a place for it")
	}
}

func TestLinesFindTheirPlaceOrSayThatThereIsNone(t *testing.T) {
	t.Parallel()
	const file = "a:\n  x: 1\n  # end users\n\nb:\n  x: 1\n  # only with users:\n  x: 2\n  # end users\nc:\n  x: 1\n"
	made, err := lines([]byte(file)).in("b:").afterLast([]string{"x: "}, []string{"  new"})
	if err != nil || !strings.Contains(string(made), "x: 2\n  # end users\n  new\nc:\n") {
		t.Errorf("behind a region: %v\n%s", err, made)
	}
	made, err = lines([]byte(file)).in("b:").before("# end users", []string{"  new"})
	if err != nil || !strings.Contains(string(made), "x: 2\n  new\n  # end users\nc:\n") {
		t.Errorf("at the end of a region: %v\n%s", err, made)
	}
	if _, err := lines([]byte(file)).in("d:").afterLast([]string{"x: "}, nil); err == nil || !strings.Contains(err.Error(), `no line that begins with "d:"`) {
		t.Errorf("in what is not there: %v", err)
	}
	if _, err := lines([]byte(file)).in("a:").in("  d:").before("# end users", nil); err == nil {
		t.Error("in what is not there, further in")
	}
	if _, err := lines([]byte(file)).in("a:").afterLast([]string{"y: "}, nil); err == nil {
		t.Error("behind what is not there")
	}
}

func TestWhatCannotBeWrittenIsTakenBack(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	before := tree{"README.md": []byte("old\n")}
	if err := before.write(root, tree{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "services"), nil, 0o600); err != nil { // where a folder has to be
		t.Fatal(err)
	}
	after := tree{"README.md": []byte("new\n"), "api/invoices/v1/doc.go": []byte("package x\n"), "services/app.go": []byte("package x\n")}
	if err := after.writeOrUndo(root, before); err == nil {
		t.Fatal("it was written")
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil || !bytes.Equal(text, before["README.md"]) {
		t.Errorf("the README is %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(root, "api")); err == nil {
		t.Error("a folder stays behind")
	}
}
