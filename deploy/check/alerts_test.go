package check

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	yaml "github.com/oasdiff/yaml3"
)

// rule is a rule of Prometheus: it records something, or it alerts.
type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

// rules are those of deploy/observability/rules.yml.
func rules(t *testing.T) (list []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/observability/rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

func alerts(t *testing.T) (list []rule) {
	t.Helper()
	for _, r := range rules(t) {
		if r.Alert != "" {
			list = append(list, r)
		}
	}
	if len(list) == 0 || len(list) > 12 {
		t.Errorf("there are %d alerts: nobody looks at more than a dozen", len(list))
	}
	return list
}

var (
	name   = regexp.MustCompile(`[a-z_][a-z0-9_:]*`)
	quoted = regexp.MustCompile(`"[^"]*"`)
)

// made are the names in an expression, and in what it is recorded from.
func made(all []rule, expr string) (names []string) {
	for _, n := range name.FindAllString(quoted.ReplaceAllString(expr, ""), -1) {
		names = append(names, n)
		for _, r := range all {
			if r.Record == n {
				names = append(names, made(all, r.Expr)...)
			}
		}
	}
	return names
}

// TestEveryAlertIsTried wants series for each alert that fire it, and others from which it must not fire although they are what it looks at.
// promtool runs them: make observe.
func TestEveryAlertIsTried(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Name   string
			Series []struct{ Series string } `yaml:"input_series"`
			Alerts []struct {
				Alertname string
				Expected  []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/observability/rules_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	all, known := rules(t), map[string]bool{}
	for _, a := range alerts(t) {
		known[a.Alert] = true
		names := made(all, a.Expr)
		for _, test := range file.Tests {
			throughout := true // it never fires in this test
			tried := false
			for _, step := range test.Alerts {
				if step.Alertname == a.Alert {
					tried = true
					fires[a.Alert] = fires[a.Alert] || len(step.Expected) > 0
					throughout = throughout && len(step.Expected) == 0
				}
			}
			looksAt := slices.ContainsFunc(test.Series, func(s struct{ Series string }) bool { return slices.Contains(names, name.FindString(s.Series)) })
			quiet[a.Alert] = quiet[a.Alert] || tried && throughout && looksAt
		}
		if !fires[a.Alert] {
			t.Errorf("deploy/observability/rules_test.yml has no series that fire %s", a.Alert)
		}
		if !quiet[a.Alert] {
			t.Errorf("deploy/observability/rules_test.yml has no series of what %s looks at from which it must not fire", a.Alert)
		}
	}
	for _, test := range file.Tests {
		for _, step := range test.Alerts {
			if !known[step.Alertname] {
				t.Errorf("rules_test.yml, %s: there is no alert %s", test.Name, step.Alertname)
			}
		}
	}
}

// TestEveryAlertHasARunbook follows the links of the alerts, which are paths in this repository, and wants an alert for each runbook.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	linked := map[string]bool{"docs/runbooks/README.md": true}
	for _, a := range alerts(t) {
		page := a.Annotations["runbook_url"]
		want := "docs/runbooks/" + strings.ToLower(regexp.MustCompile(`\B[A-Z]`).ReplaceAllString(a.Alert, "-$0")) + ".md"
		if page != want {
			t.Errorf("%s links %q as its runbook, want %s", a.Alert, page, want)
			continue
		}
		linked[page] = true
		if a.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
			t.Errorf("%s has the summary %q and the severity %q", a.Alert, a.Annotations["summary"], a.Labels["severity"])
		}
		last := 0
		text := read(t, page)
		for _, part := range []string{"# " + a.Alert + "\n", "\n## First look\n", "\n```promql\n", "\n## Likely causes\n", "\n## How to mend it\n"} {
			at := strings.Index(text, part)
			if at < last {
				t.Errorf("%s has no %q, or not in its place", page, strings.TrimSpace(part))
			}
			last = at
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	for _, page := range pages {
		if page, _ = filepath.Rel(root, page); !linked[filepath.ToSlash(page)] {
			t.Errorf("no alert links %s", page)
		}
	}
}
