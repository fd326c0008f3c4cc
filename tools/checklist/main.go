// only with auth: this file

// Command checklist runs the tests that docs/checklist.md names as proof of each of its answers, and prints a line for each question with what came
// of it. `make checklist` gives it the tools that some of them need.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "checklist:", err)
		os.Exit(1)
	}
}

// question is one of the page, and the tests that its answer names.
type question struct {
	title  string
	proofs []proof
}

// proof is a test in a package.
type proof struct{ dir, test string }

// outcome is what became of a test, and the figures it told (t.Attr).
type outcome struct {
	action  string // pass, fail, skip; empty: it was not run
	figures []string
}

var (
	heading = regexp.MustCompile(`^## (\d+\. .*)$`)
	named   = regexp.MustCompile("((?:`Test[A-Za-z0-9_]+`(?:,| and)?\\s+)+)in\\s+`([^`]+_test\\.go)`")
	test    = regexp.MustCompile("Test[A-Za-z0-9_]+")
)

// questions reads the page.
func questions(page string) (list []question) {
	for _, section := range strings.Split("\n"+page, "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		m := heading.FindStringSubmatch("## " + title)
		if m == nil {
			continue
		}
		q := question{title: m[1]}
		for _, n := range named.FindAllStringSubmatch(text, -1) {
			for _, name := range test.FindAllString(n[1], -1) {
				q.proofs = append(q.proofs, proof{path.Dir(n[2]), name})
			}
		}
		list = append(list, q)
	}
	return list
}

func run(stdout, stderr io.Writer) error {
	text, err := os.ReadFile("docs/checklist.md")
	if err != nil {
		return err
	}
	list := questions(string(text))
	dirs := map[string][]string{}
	for _, q := range list {
		for _, p := range q.proofs {
			dirs[p.dir] = append(dirs[p.dir], p.test)
		}
	}
	outcomes := map[proof]*outcome{}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		slices.Sort(dirs[dir])
		tests := slices.Compact(dirs[dir])
		fmt.Fprintf(stderr, "%d tests in %s\n", len(tests), dir)
		if err := try(dir, tests, outcomes, stderr); err != nil {
			return err
		}
	}
	failed := 0
	for _, q := range list {
		answer, why := q.answer(outcomes)
		if answer == "NO" {
			failed++
		}
		fmt.Fprintf(stdout, "%-9s %s\n", answer, q.title)
		for _, line := range why {
			fmt.Fprintf(stdout, "%9s   %s\n", "", line)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d are not so", failed, len(list))
	}
	return nil
}

// try runs some tests of a package.
func try(dir string, tests []string, outcomes map[proof]*outcome, stderr io.Writer) error {
	cmd := exec.Command("go", "test", "-count=1", "-timeout=30m", "-json", "-run", "^("+strings.Join(tests, "|")+")$", "./"+dir)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := map[string]string{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Key, Value, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil { // of a package that does not compile
			fmt.Fprintln(stderr, lines.Text())
			continue
		}
		o := outcomes[proof{dir, e.Test}]
		if o == nil {
			o = &outcome{}
			outcomes[proof{dir, e.Test}] = o
		}
		switch e.Action {
		case "pass", "fail", "skip":
			o.action = e.Action
			if e.Action == "fail" {
				fmt.Fprint(stderr, said[e.Test])
			}
		case "attr":
			if e.Key == "figure" {
				o.figures = append(o.figures, e.Value)
			}
		case "output":
			said[e.Test] += e.Output
		}
	}
	var exit *exec.ExitError
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && !errors.As(err, &exit) { // which tests failed is known
		return err
	}
	return nil
}

// answer is what the outcomes say of a question: yes, NO, partly when a test could not be run here, or not yet when nothing proves it.
func (q question) answer(outcomes map[proof]*outcome) (answer string, why []string) {
	if len(q.proofs) == 0 {
		return "not yet", nil
	}
	answer = "yes"
	var figures []string
	passed := 0
	for _, p := range q.proofs {
		o := outcomes[p]
		switch {
		case o == nil || o.action == "" || o.action == "fail":
			answer, why = "NO", append(why, p.test+" in "+p.dir+" fails")
		case o.action == "skip":
			if answer == "yes" {
				answer = "partly"
			}
			why = append(why, p.test+" in "+p.dir+" cannot be run here")
		default:
			passed++
			figures = append(figures, o.figures...)
		}
	}
	return answer, append(append([]string{fmt.Sprintf("%d of %d tests pass", passed, len(q.proofs))}, why...), figures...)
}
