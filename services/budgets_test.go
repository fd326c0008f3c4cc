package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// budget is a row of the table in docs/budgets.md: how long something waits at most, and within which other wait.
type budget struct {
	wait, within, name, file string
	most                     time.Duration
}

// budgets reads the table of the page.
func (f files) budgets(say func(format string, args ...any)) (list []budget) {
	where := regexp.MustCompile("^`([A-Za-z_]+)`(?:(?: in|, by) `([^`]+)`)?$")
	for line := range strings.Lines(f["docs/budgets.md"]) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "-") || cells[2] == " at most " {
			continue
		}
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		most, err := time.ParseDuration(cells[2])
		m := where.FindStringSubmatch(cells[4])
		switch {
		case err != nil:
			say("%s: %v", cells[1], err)
		case cells[4] == "": // somebody else's
			list = append(list, budget{wait: cells[1], within: cells[3], most: most})
		case m == nil:
			say("%s: %q names no setting, nothing in a file", cells[1], cells[4])
		default:
			list = append(list, budget{cells[1], cells[3], m[1], m[2], most})
		}
	}
	return list
}

// actual is how long the program waits, "" when that is not to be found.
func (f files) actual(b budget) string {
	switch {
	case b.file == "":
		for _, s := range settings(&config{}) {
			if s.name == b.name {
				return s.fallback
			}
		}
	case strings.HasSuffix(b.file, ".go"):
		if d, ok := f.constants(b.file)[b.name]; ok {
			return d.String()
		}
		fallthrough
	default:
		if m := regexp.MustCompile(`\b` + b.name + `(?:: | = '| )([0-9a-z]+)`).FindStringSubmatch(f[b.file]); m != nil {
			return m[1]
		}
	}
	return ""
}

// constants are the times that have a name in a file.
func (f files) constants(name string) map[string]time.Duration {
	found := map[string]time.Duration{}
	file, err := parser.ParseFile(token.NewFileSet(), name, f[name], 0)
	if err != nil {
		return found
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, is := n.(*ast.ValueSpec); is && len(spec.Values) == len(spec.Names) {
			for i, value := range spec.Values {
				if d, ok := timeOf(value); ok {
					found[spec.Names[i].Name] = d
				}
			}
		}
		return true
	})
	return found
}

// timeOf works out 3 * time.Second.
func timeOf(e ast.Expr) (time.Duration, bool) {
	units := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}
	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.ParseInt(e.Value, 10, 64)
		return time.Duration(n), err == nil
	case *ast.SelectorExpr:
		x, _ := e.X.(*ast.Ident)
		d, is := units[e.Sel.Name]
		return d, is && x != nil && x.Name == "time"
	case *ast.BinaryExpr:
		x, one := timeOf(e.X)
		y, other := timeOf(e.Y)
		return time.Duration(int64(x) * int64(y)), one && other && e.Op == token.MUL
	}
	return 0, false
}

// budgetsHold holds the page against the program.
func budgetsHold(f files, say func(format string, args ...any)) {
	list := f.budgets(say)
	waits := map[string]budget{}
	for _, b := range list {
		waits[b.wait] = b
	}
	for _, b := range list {
		if is, err := time.ParseDuration(f.actual(b)); b.name != "" && (err != nil || is != b.most) {
			say("%s: the page says %s, and %s is %q", b.wait, b.most, b.name, f.actual(b))
		}
		if outer, is := waits[b.within]; b.within != "" && (!is || b.most > outer.most) {
			say("%s takes up to %s, which does not fit into %q with its %s", b.wait, b.most, b.within, outer.most)
		}
	}
	var end time.Duration
	for _, b := range list {
		if b.within == "the orchestrator's patience" {
			end += b.most
		}
	}
	if patience := waits["the orchestrator's patience"].most; end > patience {
		say("the end takes up to %s, and the orchestrator kills after %s", end, patience)
	}
	for _, name := range f.goFiles() {
		if strings.HasSuffix(name, "_test.go") || !strings.HasPrefix(name, "pkg/") && !strings.HasPrefix(name, "services/") || strings.Contains(name, "test/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, f[name], 0)
		if err != nil {
			say("%s: %v", name, err)
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var wait ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if called, is := n.Fun.(*ast.SelectorExpr); is && called.Sel.Name == "WithTimeout" && len(n.Args) == 2 {
					wait = n.Args[1]
				}
			case *ast.KeyValueExpr:
				if key, is := n.Key.(*ast.Ident); is && strings.HasSuffix(key.Name, "Timeout") {
					wait = n.Value
				}
			}
			if _, bare := timeOf(orNothing(wait)); bare {
				say("%s waits for a time without a name: give it one, and a row in docs/budgets.md", name)
			}
			if named, is := wait.(*ast.Ident); is && !slices.ContainsFunc(list, func(b budget) bool { return b.name == named.Name && inPackage(b.file, name) }) && f.isConstant(name, named.Name) {
				say("%s waits for %s, which has no row in docs/budgets.md", name, named.Name)
			}
			return true
		})
	}
}

func orNothing(e ast.Expr) ast.Expr {
	if e == nil {
		return &ast.BadExpr{}
	}
	return e
}

func inPackage(file, other string) bool { return path.Dir(file) == path.Dir(other) }

// isConstant reports whether a package of a file names such a time.
func (f files) isConstant(file, name string) bool {
	for _, other := range f.goFiles() {
		if _, is := f.constants(other)[name]; is && inPackage(other, file) {
			return true
		}
	}
	return false
}

func TestTheBudgetsOfThePage(t *testing.T) {
	t.Parallel()
	budgetsHold(theHouse(t), t.Errorf)
}

func TestWhatDoesNotFitIntoTheBudgetsIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ says, file, before, after, want string }{
		{"another time in the program", "pkg/postgres/postgres.go", "acquireTimeout = 2 * time.Second", "acquireTimeout = 3 * time.Second", "the page says 2s"},
		{"another setting in compose", "docker-compose.yml", "stop_grace_period: 30s", "stop_grace_period: 10s", `stop_grace_period is "10s"`},
		{"another time of the logins", "migrations/migrations.go", "statement_timeout = '5s'", "statement_timeout = '50s'", `statement_timeout is "50s"`},
		{"a wait that is longer than what it is within", "docs/budgets.md", "| a lock | 2s |", "| a lock | 6s |", "does not fit"},
		{"an end that takes too long", "docs/budgets.md", "| the end: what is in flight | 20s |", "| the end: what is in flight | 28s |", "the orchestrator kills"},
		{"a time without a name", "services/serve.go", "flushTimeout)", "4*time.Second)", "without a name"},
		{"a field without a name", "pkg/httpserver/server.go", "ReadHeaderTimeout: headerTimeout", "ReadHeaderTimeout: 5 * time.Second", "without a name"},
		{"a time without a row", "docs/budgets.md", "| `askTimeout` in", "| `answerTimeout` in", "askTimeout, which has no row"},
		{"a row for nothing", "docs/budgets.md", "`keysTimeout` in", "`keyTimeout` in", `keyTimeout is ""`},
	} {
		f := maps.Clone(theHouse(t))
		if !strings.Contains(f[c.file], c.before) {
			t.Errorf("%s: %s has no %q", c.says, c.file, c.before)
		}
		f[c.file] = strings.Replace(f[c.file], c.before, c.after, 1)
		var said []string
		budgetsHold(f, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		if !strings.Contains(strings.Join(said, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", c.says, said, c.want)
		}
	}
}
