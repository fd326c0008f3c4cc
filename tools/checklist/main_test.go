// only with auth: this file

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestTheQuestionsOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/checklist.md")
	if err != nil {
		t.Fatal(err)
	}
	list := questions(string(page))
	if len(list) != 14 {
		t.Errorf("there are %d questions", len(list))
	}
	for _, q := range list {
		if len(q.proofs) == 0 {
			t.Errorf("%s: nothing proves the answer", q.title)
		}
	}
	// Each test that the page names is a proof.
	all := 0
	for _, q := range list {
		all += len(q.proofs)
	}
	if named := strings.Count(string(page), "`Test"); named != all {
		t.Errorf("the page names %d tests, of which %d are run", named, all)
	}
}

func TestAnAnswerIsWhatItsTestsSay(t *testing.T) {
	t.Parallel()
	q := questions("# Page\n\n## 1. Is it so?\n\nIt is: `TestA`, `TestB` and\n`TestC` in `a/b_test.go`, `TestD` in `c/d_test.go`.\n\n## 2. And this?\n\nNo test.\n")
	if len(q) != 2 || q[0].title != "1. Is it so?" || !slices.Equal(q[0].proofs, []proof{{"a", "TestA"}, {"a", "TestB"}, {"a", "TestC"}, {"c", "TestD"}}) {
		t.Fatalf("%+v", q)
	}
	pass := func() map[proof]*outcome {
		all := map[proof]*outcome{}
		for _, p := range q[0].proofs {
			all[p] = &outcome{action: "pass"}
		}
		return all
	}
	for _, c := range []struct {
		change func(map[proof]*outcome)
		want   string
	}{
		{func(map[proof]*outcome) {}, "yes"},
		{func(o map[proof]*outcome) { o[proof{"a", "TestB"}].figures = []string{"seven"} }, "yes seven"},
		{func(o map[proof]*outcome) { o[proof{"a", "TestB"}].action = "skip" }, "partly cannot be run here"},
		{func(o map[proof]*outcome) { o[proof{"c", "TestD"}].action = "fail" }, "NO fails"},
		{func(o map[proof]*outcome) { delete(o, proof{"c", "TestD"}) }, "NO fails"},
		{func(o map[proof]*outcome) {
			o[proof{"a", "TestA"}].action, o[proof{"a", "TestB"}].action = "fail", "skip"
		}, "NO fails"},
	} {
		all := pass()
		c.change(all)
		answer, why := q[0].answer(all)
		word, detail, _ := strings.Cut(c.want, " ")
		if answer != word || !strings.Contains(strings.Join(why, "\n"), detail) {
			t.Errorf("%q %q; want %q", answer, why, c.want)
		}
	}
	if answer, _ := q[1].answer(nil); answer != "not yet" {
		t.Errorf("of nothing: %s", answer)
	}
}
