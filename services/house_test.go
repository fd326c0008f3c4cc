package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"example.com/groundwork/pkg/problem"
)

// The walls of the house. Each is a function over the files of the project, and each has breaks: changes to a copy of the files that it
// must catch, with the reason in the message.

// wall is one rule of the house.
type wall struct {
	name   string
	check  func(files) []string // what is wrong, in words
	breaks []brk
}

// brk is a deliberate break: what to do to a copy, and what the wall has to say about it.
type brk struct {
	name string
	do   func(files)
	want string
}

var walls = []wall{
	{"modules meet by their contracts", contractsOnly, []brk{
		{"a module imports another", adding("services/books/x.go", `package books; import _ "example.com/groundwork/services/shelves"`),
			"services/books/x.go imports services/shelves: a module is reached by its contract"},
		{"a test of a module imports another", adding("services/books/x_test.go", `package books; import _ "example.com/groundwork/services/shelves"`),
			"services/books/x_test.go imports services/shelves: a module is reached by its contract"},
		{"a contract imports our code", adding("api/books/v1/x.go", `package booksv1; import _ "example.com/groundwork/pkg/problem"`),
			"api/books/v1/x.go imports pkg/problem: a contract stands alone"},
		{"a package imports a contract", adding("pkg/problem/x.go", `package problem; import _ "example.com/groundwork/api/books/v1"`),
			"pkg/problem/x.go imports api/books/v1: pkg knows no module"},
		{"a package imports a module", adding("pkg/problem/x.go", `package problem; import _ "example.com/groundwork/services/books"`),
			"pkg/problem/x.go imports services/books: pkg knows no module"},
	}},
	{"every module has the same rooms", sameRooms, []brk{
		{"no handlers", removing("services/books/handlers.go"), "services/books has no handlers.go: every module has the same rooms"},
		{"no store", removing("services/books/store.go"), "services/books has no store.go or store_*.go: every module has the same rooms"},
		{"no stories", removing("services/books/module_test.go"), "services/books has no module_test.go: every module has the same rooms"},
		{"no contract", removing("api/books/v1/openapi.yaml"), "the module books has no api/books/v1/openapi.yaml: a module has a contract"},
		{"half of a new contract", adding("api/books/v7/openapi.yaml", ""), "the module books has no api/books/v7/gen.go: a module has a contract"},
		{"no contract at all", without("api/books/"), "the module books has no api/books/v1: a module has a contract"},
		{"no schema", removing("migrations/books/0001_books.sql"), "the module books has no migrations/books/*.sql: a module keeps its own schema"},
		{"a contract without a module", adding("api/ghost/v1/openapi.yaml", ""), "api/ghost belongs to no module in services/"},
		{"a schema without a module", adding("migrations/ghost/0001_ghost.sql", ""), "migrations/ghost belongs to no module in services/"},
	}},
	{"a module shows little", showsLittle, []brk{
		{"a function", adding("services/books/x.go", "package books\nfunc Find() {}"), "services/books/x.go exports Find: a module shows New, Module, Routes and Jobs"},
		{"a type", adding("services/books/x.go", "package books\ntype Row struct{}"), "services/books/x.go exports Row: a module shows New, Module, Routes and Jobs"},
		{"a variable", adding("services/books/x.go", "package books\nvar Limit = 1"), "services/books/x.go exports Limit: a module shows New, Module, Routes and Jobs"},
		{"a method", adding("services/books/x.go", "package books\nfunc (m *Module) Pool() {}"),
			"services/books/x.go exports Module.Pool: a module shows New, Module, Routes and Jobs"},
	}},
	{"SQL stands in the store", sqlRooms, []brk{
		{"a handler", adding("services/books/handlers.go", `package books; import _ "github.com/jackc/pgx/v5"`),
			"services/books/handlers.go imports github.com/jackc/pgx/v5: SQL stands in store*.go"},
		{"the front door", adding("services/config.go", `package main; import _ "github.com/jackc/pgx/v5/pgxpool"`),
			"services/config.go imports github.com/jackc/pgx/v5/pgxpool: SQL stands in store*.go"},
	}},
	{"SQL names its columns", namedColumns, []brk{
		{"in a store", adding("services/books/x.go", "package books\nconst q = `select u.* from books u`"),
			"services/books/x.go:2 selects *: a running instance has to survive a new column"},
		{"when writing", adding("pkg/seal/x.go", "package seal\nconst q = `insert into a values (1) returning *`"),
			"pkg/seal/x.go:2 selects *: a running instance has to survive a new column"},
		{"in a migration", adding("migrations/books/0002_x.sql", "create view books.v as\nselect *\nfrom books.books;"),
			"migrations/books/0002_x.sql:2 selects *: a running instance has to survive a new column"},
	}},
	{"every package says what it is for", packageComments, []brk{
		{"none", replacing("pkg/etag/etag.go", "has clients send them.\npackage", "has clients send them.\n\npackage"), "the package pkg/etag says nowhere what it is for: write one comment above its package clause"},
		{"two", adding("pkg/etag/x.go", "// Package etag is also something else.\npackage etag"), "the package pkg/etag says what it is for in pkg/etag/etag.go and pkg/etag/x.go: once is enough"},
		{"another name", replacing("pkg/etag/etag.go", "// Package etag", "// Package tags"), "the comment of pkg/etag begins with \"Package etag\""},
	}},
	{"one code has one kind", oneKind, []brk{
		{"two kinds", adding("pkg/page/x.go", "package page\nvar e = problem.Conflict.New(\"not-found\", \"\")"), "and Conflict in pkg/page/x.go:2: one code has one kind"},
		{"another status than the table", adding("pkg/page/x.go", "package page\nvar e = problem.Conflict.New(\"insufficient-funds\", \"\")"),
			"pkg/page/x.go:2 gives insufficient-funds the status 409, the table of codes says 422"},
		{"an unknown kind", adding("pkg/page/x.go", "package page\nvar e = problem.Odd.New(\"odd\", \"\")"), "pkg/page/x.go:2 uses problem.Odd, which the table of kinds does not have"},
	}},
	{"a path has one owner", onePath, []brk{
		{"twice", replacing("api/books/v1/openapi.yaml", "  /v1/books/mine:", "  /v1/shelves:"), "the path /v1/shelves is in books/v1 and in shelves/v1: each path has one owner"},
		{"twice, under another name", replacing("api/books/v1/openapi.yaml", "  /v1/books/mine:", "  /v1/shelves/{it}:"), "the path /v1/shelves/{id} is in books/v1 and in shelves/v1: each path has one owner"},
	}},
	{"what is public is known to be", publicOperations, []brk{
		{"a new one", replacing("api/books/v1/openapi.yaml", "        - oauth2: ['books:read']", "        []"),
			"GET /v1/books/mine is public: if nobody has to say who they are, add it to the list in serve_test.go"},
		{"an anonymous way in", replacing("api/books/v1/openapi.yaml", "        - oauth2: ['books:read']", "        - oauth2: ['books:read']\n        - {}"),
			"GET /v1/books/mine has the alternative {}: say `security: []` when an operation is public"},
		// only with auth:
		{"one that is gone", replacing("api/auth/v1/openapi.yaml", "  /v1/auth/login:", "  /v1/auth/enter:"), "POST /v1/auth/login is in the list of public operations and in no contract"},
		// end auth
	}},
	// only with auth:
	{"every scope is granted by a role", scopesGranted, []brk{
		{"a scope nobody has", replacing("api/books/v1/openapi.yaml", "        - oauth2: ['books:read']", "        - oauth2: ['books:admire']"),
			"GET /v1/books/mine asks for the scope books:admire, which no role in services/auth/roles.go grants"},
		{"a role that lost one", replacing("services/auth/roles.go", `"books:read", `, ""),
			"GET /v1/books/mine asks for the scope books:read, which no role in services/auth/roles.go grants"},
	}},
	// end auth
	{"the gateway routes what is public and nothing else", gatewayRoutes, []brk{
		{"no gateway", removing("deploy/gateway/Caddyfile"), "there is no deploy/gateway/Caddyfile"},
		{"a new path", replacing("api/books/v1/openapi.yaml", "  /v1/books/mine:", "  /v1/books/{id}/face:"),
			"the gateway does not route GET /v1/books/{id}/face to books: add it to deploy/gateway/Caddyfile"},
		{"an internal operation opened up", replacing("deploy/gateway/Caddyfile", `"GET /v1/books/mine" books`, `"~^PUT /v1/books/[^/]+$" books`),
			"the gateway routes PUT /v1/books/{id}, which is for modules only"},
		{"an internal operation that others may call as well", replacing("api/books/v1/openapi.yaml", "        - oauth2: [internal]", "        - oauth2: [internal]\n        - oauth2: ['books:read']"),
			"the gateway does not route GET /v1/books/{id} to books: add it to deploy/gateway/Caddyfile"},
		{"a pattern that is too wide", replacing("deploy/gateway/Caddyfile", `"GET /v1/books/mine" books`, `"~^GET /v1/books/.*$" books`),
			"the gateway routes GET /v1/books/{id}, which is for modules only"},
		{"another module", replacing("deploy/gateway/Caddyfile", `"GET /v1/books/mine" books`, `"GET /v1/books/mine" shelves`),
			"the gateway routes GET /v1/books/mine to shelves, but books answers it"},
		{"a path that is gone", replacing("deploy/gateway/Caddyfile", `"GET /v1/books/mine" books`, `"GET /v1/books/yours" books`),
			"the gateway routes \"GET /v1/books/yours\", which is no operation of a contract"},
	}},
	{"the README lists every setting", settingsTable, []brk{
		{"no README", removing("README.md"), "README.md has no table of settings between <!-- settings --> and <!-- /settings -->"},
		{"an old table", adding("README.md", "<!-- settings -->\n| Setting |\n<!-- /settings -->"), "the table of settings in README.md is not what `groundwork config` prints"},
	}},
}

func TestTheWallsOfTheHouse(t *testing.T) {
	t.Parallel()
	house := theHouse(t)
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, wrong := range w.check(house) {
				t.Error(wrong)
			}
		})
	}
}

// A wall that nothing can knock over is painted on: each break is found, and nothing else than it.
func TestEveryWallFallsWithAReason(t *testing.T) {
	t.Parallel()
	house := withBooks(theHouse(t))
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			before := w.check(house)
			for _, b := range w.breaks {
				broken := maps.Clone(house)
				b.do(broken)
				if maps.Equal(broken, house) {
					t.Errorf("%s: the break changes nothing", b.name)
				}
				found := w.check(broken)
				if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, b.want) }) {
					t.Errorf("%s: found %q; want %q", b.name, found, b.want)
				}
				if slices.ContainsFunc(before, func(s string) bool { return strings.Contains(s, b.want) }) {
					t.Errorf("%s: it is found without the break: %q", b.name, b.want)
				}
			}
		})
	}
}

// files is what the walls read: contents by path from the root of the project.
type files map[string]string

var theHouse = func() func(*testing.T) files {
	load := sync.OnceValues(func() (files, error) {
		house := files{}
		err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if base := d.Name(); name != ".." && strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" {
					return fs.SkipDir
				}
				return nil
			}
			name = filepath.ToSlash(name)
			switch path.Ext(name) {
			case ".go", ".sql", ".yaml", ".yml", ".md", "":
			default:
				return nil
			}
			if path.Ext(name) == "" && d.Name() != "Caddyfile" {
				return nil
			}
			content, err := os.ReadFile(name)
			house[strings.TrimPrefix(name, "../")] = string(content)
			return err
		})
		return house, err
	})
	return func(t *testing.T) files {
		t.Helper()
		house, err := load()
		if err != nil {
			t.Fatal(err)
		}
		return house
	}
}()

// The breaks.

func adding(name, content string) func(files) { return func(f files) { f[name] = content } }

func removing(pattern string) func(files) {
	return func(f files) {
		for _, name := range f.match(pattern) {
			delete(f, name)
		}
	}
}

func without(prefix string) func(files) {
	return func(f files) {
		maps.DeleteFunc(f, func(name, _ string) bool { return strings.HasPrefix(name, prefix) })
	}
}

func replacing(name, old, new string) func(files) {
	return func(f files) { f[name] = strings.Replace(f[name], old, new, 1) }
}

// The walls.

const ours = "example.com/groundwork/"

func contractsOnly(f files) (wrong []string) {
	for _, name := range f.goFiles() {
		for _, imported := range f.importsOf(name) {
			imported, isOurs := strings.CutPrefix(imported, ours)
			if !isOurs {
				continue
			}
			switch from, to := strings.Split(name, "/"), strings.Split(imported, "/"); {
			case from[0] == "api":
				wrong = append(wrong, fmt.Sprintf("%s imports %s: a contract stands alone", name, imported))
			case from[0] == "pkg" && (to[0] == "api" || to[0] == "services"):
				wrong = append(wrong, fmt.Sprintf("%s imports %s: pkg knows no module", name, imported))
			case from[0] == "services" && len(from) > 2 && to[0] == "services" && to[1] != from[1]:
				wrong = append(wrong, fmt.Sprintf("%s imports %s: a module is reached by its contract", name, imported))
			}
		}
	}
	return wrong
}

func sameRooms(f files) (wrong []string) {
	modules := f.modules()
	for _, m := range modules {
		for _, room := range []string{"module.go", "handlers.go", "module_test.go"} {
			if !f.has("services/" + m + "/" + room) {
				wrong = append(wrong, fmt.Sprintf("services/%s has no %s: every module has the same rooms", m, room))
			}
		}
		if !f.has("services/"+m+"/store.go") && !slices.ContainsFunc(f.match("services/"+m+"/store_*.go"), func(s string) bool { return !strings.HasSuffix(s, "_test.go") }) {
			wrong = append(wrong, fmt.Sprintf("services/%s has no store.go or store_*.go: every module has the same rooms", m))
		}
		versions := f.versions(m)
		if len(versions) == 0 {
			wrong = append(wrong, fmt.Sprintf("the module %s has no api/%s/v1: a module has a contract", m, m))
		}
		for _, version := range versions {
			for _, part := range []string{"openapi.yaml", "config.yaml", "doc.go", "gen.go"} {
				if name := version + "/" + part; !f.has(name) {
					wrong = append(wrong, fmt.Sprintf("the module %s has no %s: a module has a contract", m, name))
				}
			}
		}
		if len(f.match("migrations/"+m+"/*.sql")) == 0 {
			wrong = append(wrong, fmt.Sprintf("the module %s has no migrations/%s/*.sql: a module keeps its own schema", m, m))
		}
	}
	for _, pattern := range []string{"api/*/*/*", "migrations/*/*"} {
		for _, name := range f.match(pattern) {
			if parts := strings.Split(name, "/"); !slices.Contains(modules, parts[1]) {
				wrong = append(wrong, fmt.Sprintf("%s/%s belongs to no module in services/", parts[0], parts[1]))
			}
		}
	}
	return wrong
}

// shown are the names that a module may export: itself, how to make it, what New has to be told, and what the command keys asks.
var shown = []string{"New", "Module", "Module.Routes", "Module.Jobs", "Module.RotateKeys", "Module.KeyStatus", "Module.KeysFit", "Config", "Client"}

func showsLittle(f files) (wrong []string) {
	for _, m := range f.modules() {
		allowed := append(slices.Clone(shown), f.operations(m)...)
		for _, name := range f.match("services/" + m + "/*.go") {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, exported := range exportedIn(f.parse(name)) {
				if !slices.Contains(allowed, exported) {
					wrong = append(wrong, fmt.Sprintf("%s exports %s: a module shows New, Module, Routes and Jobs, and what New needs", name, exported))
				}
			}
		}
	}
	return wrong
}

// exportedIn lists what a file shows to others. The methods of an unexported type are its own business.
func exportedIn(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				receiver := d.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				id, ok := receiver.(*ast.Ident)
				if !ok || !id.IsExported() {
					continue
				}
				name = id.Name + "." + name
			}
			if d.Name.IsExported() {
				names = append(names, name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						names = append(names, s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, id := range s.Names {
						if id.IsExported() {
							names = append(names, id.Name)
						}
					}
				}
			}
		}
	}
	return names
}

// operations lists the methods of a module's generated server interface.
func (f files) operations(module string) (names []string) {
	for _, name := range f.match("api/" + module + "/*/gen.go") {
		ast.Inspect(f.parse(name), func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "StrictServerInterface" {
				return true
			}
			for _, method := range spec.Type.(*ast.InterfaceType).Methods.List {
				names = append(names, "Module."+method.Names[0].Name)
			}
			return false
		})
	}
	return names
}

// The front door opens the pools and hands each to its module; it asks nothing through them.
const opensPools = "services/app.go"

func sqlRooms(f files) (wrong []string) {
	for _, name := range f.goFiles() {
		base := path.Base(name)
		if !strings.HasPrefix(name, "services/") || name == opensPools || strings.HasSuffix(base, "_test.go") ||
			strings.Count(name, "/") == 2 && (strings.HasPrefix(base, "store") || base == "module.go" || base == "jobs.go") {
			continue
		}
		for _, imported := range f.importsOf(name) {
			if strings.HasPrefix(imported, "github.com/jackc/pgx/") {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: SQL stands in store*.go; module.go and jobs.go pass the pool on", name, imported))
			}
		}
	}
	return wrong
}

var selectStar = regexp.MustCompile(`(?is)\b(select|returning)\s+(distinct\s+)?(\w+\.)?\*`)

func namedColumns(f files) (wrong []string) {
	report := func(name string, line int, text string) {
		for _, at := range selectStar.FindAllStringIndex(text, -1) {
			wrong = append(wrong, fmt.Sprintf("%s:%d selects *: a running instance has to survive a new column", name, line+strings.Count(text[:at[0]], "\n")))
		}
	}
	for _, name := range f.match("migrations/*/*.sql") {
		report(name, 1, f[name])
	}
	for _, name := range f.goFiles() {
		if strings.HasSuffix(name, "_test.go") || !selectStar.MatchString(f[name]) {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, f[name], 0)
		if err != nil {
			return []string{err.Error()}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				report(name, set.Position(lit.Pos()).Line, lit.Value)
			}
			return true
		})
	}
	return wrong
}

func packageComments(f files) (wrong []string) {
	comments := map[string][]string{} // package folder: the files whose comment says what it is for
	for _, name := range f.goFiles() {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		folder := path.Dir(name)
		if _, known := comments[folder]; !known {
			comments[folder] = nil
		}
		file := f.parseHead(name)
		if file.Doc == nil || ast.IsGenerated(file) { // the generator writes one of its own
			continue
		}
		comments[folder] = append(comments[folder], name)
		want := "Package " + file.Name.Name
		if file.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(file.Doc.Text(), want) {
			wrong = append(wrong, fmt.Sprintf("the comment of %s begins with %q", folder, want))
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(comments)) {
		switch list := comments[folder]; len(list) {
		case 0:
			wrong = append(wrong, fmt.Sprintf("the package %s says nowhere what it is for: write one comment above its package clause", folder))
		case 1:
		default:
			wrong = append(wrong, fmt.Sprintf("the package %s says what it is for in %s: once is enough", folder, strings.Join(list, " and ")))
		}
	}
	return wrong
}

// codesByStatus is the table of the problems that a caller may get, by status. A client may rely on it: a code keeps its status.
var codesByStatus = map[int][]string{
	400: {"malformed-json", "token-invalid", "invalid-parameter", "invalid-cursor", "idempotency-key-missing", "idempotency-key-invalid"},
	401: {"unauthenticated", "invalid-credentials", "step-up-required"},
	403: {"insufficient-scope", "cross-origin-refused"},
	404: {"not-found"},
	405: {"method-not-allowed"},
	406: {"not-acceptable"},
	409: {"idempotency-key-in-use", "already-reversed", "hold-not-open", "reference-already-used", "not-reversible", "account-not-active", "account-has-balance"},
	412: {"precondition-failed"},
	413: {"body-too-large"},
	415: {"unsupported-media-type"},
	422: {"validation-failed", "insufficient-funds", "currency-mismatch", "same-account", "amount-exceeds-hold", "idempotency-key-reused"},
	428: {"precondition-required"},
	429: {"rate-limited"},
	499: {"client-gone"},
	500: {"internal"},
	503: {"overloaded", "ledger-busy", "dependency-unavailable"},
}

var kindsByName = map[string]problem.Kind{
	"Internal": problem.Internal, "Malformed": problem.Malformed, "Unauthenticated": problem.Unauthenticated, "Forbidden": problem.Forbidden,
	"NotFound": problem.NotFound, "MethodNotAllowed": problem.MethodNotAllowed, "NotAcceptable": problem.NotAcceptable, "Conflict": problem.Conflict,
	"PreconditionFailed": problem.PreconditionFailed, "TooLarge": problem.TooLarge, "UnsupportedMedia": problem.UnsupportedMedia,
	"Invalid": problem.Invalid, "PreconditionRequired": problem.PreconditionRequired, "RateLimited": problem.RateLimited,
	"ClientGone": problem.ClientGone, "Unavailable": problem.Unavailable,
}

func oneKind(f files) (wrong []string) {
	statuses := map[string]int{}
	for status, list := range codesByStatus {
		for _, code := range list {
			statuses[code] = status
		}
	}
	first := map[string][2]string{} // code: its kind, and where
	for _, name := range f.goFiles() {
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(f[name], ".New(\"") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, f[name], 0)
		if err != nil {
			return []string{err.Error()}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			kind, code, ok := problemIn(n, file.Name.Name)
			if !ok {
				return true
			}
			where := fmt.Sprintf("%s:%d", name, set.Position(n.Pos()).Line)
			k, known := kindsByName[kind]
			status, inTable := statuses[code]
			switch earlier, seen := first[code]; {
			case !known:
				wrong = append(wrong, fmt.Sprintf("%s uses problem.%s, which the table of kinds does not have", where, kind))
				return true
			case !seen:
				first[code] = [2]string{kind, where}
			case earlier[0] != kind:
				wrong = append(wrong, fmt.Sprintf("the code %s is %s in %s and %s in %s: one code has one kind", code, earlier[0], earlier[1], kind, where))
			}
			if inTable && k.Status() != status {
				wrong = append(wrong, fmt.Sprintf("%s gives %s the status %d, the table of codes says %d", where, code, k.Status(), status))
			}
			return true
		})
	}
	return wrong
}

// problemIn reads problem.<Kind>.New("code", …), or <Kind>.New inside of the package itself.
func problemIn(n ast.Node, pkg string) (kind, code string, ok bool) {
	call, isCall := n.(*ast.CallExpr)
	if !isCall || len(call.Args) == 0 {
		return "", "", false
	}
	fun, isSelector := call.Fun.(*ast.SelectorExpr)
	lit, isLit := call.Args[0].(*ast.BasicLit)
	if !isSelector || !isLit || fun.Sel.Name != "New" || lit.Kind != token.STRING {
		return "", "", false
	}
	switch x := fun.X.(type) {
	case *ast.SelectorExpr:
		from, isIdent := x.X.(*ast.Ident)
		kind, ok = x.Sel.Name, isIdent && from.Name == "problem"
	case *ast.Ident:
		kind, ok = x.Name, pkg == "problem" && x.IsExported()
	}
	code, err := strconv.Unquote(lit.Value)
	return kind, code, ok && err == nil
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

func onePath(f files) (wrong []string) {
	owner := map[string]string{}
	for _, o := range f.contracts(&wrong) {
		shape := placeholder.ReplaceAllString(o.path, "{}")
		if other, taken := owner[shape]; taken && other != o.contract {
			message := fmt.Sprintf("the path %s is in %s and in %s: each path has one owner", o.path, other, o.contract)
			if !slices.Contains(wrong, message) {
				wrong = append(wrong, message)
			}
			continue
		}
		owner[shape] = o.contract
	}
	return wrong
}

// publicOperations holds the contracts against the list that serve_test.go tries on the running program. An operation gets there by hand.
func publicOperations(f files) (wrong []string) {
	var found []string
	for _, o := range f.contracts(&wrong) {
		if o.anonymous {
			wrong = append(wrong, fmt.Sprintf("%s has the alternative {}: say `security: []` when an operation is public", o))
		}
		if !o.public {
			continue
		}
		found = append(found, o.String())
		if !slices.Contains(public, o.String()) {
			wrong = append(wrong, fmt.Sprintf("%s is public: if nobody has to say who they are, add it to the list in serve_test.go", o))
		}
	}
	for _, o := range public {
		if !slices.Contains(found, o) {
			wrong = append(wrong, o+" is in the list of public operations and in no contract as one")
		}
	}
	return wrong
}

// only with auth:
func scopesGranted(f files) (wrong []string) {
	var granted []string
	ast.Inspect(f.parse("services/auth/roles.go"), func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "permissions" {
			return true
		}
		ast.Inspect(spec, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				scope, err := strconv.Unquote(lit.Value)
				if err != nil {
					wrong = append(wrong, err.Error())
				}
				granted = append(granted, scope)
			}
			return true
		})
		return false
	})
	for _, o := range f.contracts(&wrong) {
		for _, scope := range o.scopes {
			if scope != "internal" && !slices.Contains(granted, scope) {
				wrong = append(wrong, fmt.Sprintf("%s asks for the scope %s, which no role in services/auth/roles.go grants", o, scope))
			}
		}
	}
	return wrong
}

// end auth

// routed is a line of the gateway's map: "GET /v1/users/me" users, or a pattern behind a tilde.
var routed = regexp.MustCompile(`(?m)^\s*"(~?)([^"{}]+)" (\w+)$`)

func gatewayRoutes(f files) (wrong []string) {
	const name = "deploy/gateway/Caddyfile"
	type line struct {
		text, module string
		matches      *regexp.Regexp
		used         bool
	}
	var lines []*line
	for _, m := range routed.FindAllStringSubmatch(f[name], -1) {
		pattern := m[2]
		if m[1] == "" {
			pattern = "^" + regexp.QuoteMeta(pattern) + "$"
		}
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return []string{fmt.Sprintf("%s: %v", name, err)}
		}
		lines = append(lines, &line{text: m[2], module: m[3], matches: expression})
	}
	if len(lines) == 0 {
		return []string{"there is no " + name + " with a line for each operation"}
	}
	for _, o := range f.contracts(&wrong) {
		// What a caller may put into the path, and what a pattern that is too narrow or too wide would take for something else.
		request := o.method + " " + placeholder.ReplaceAllString(o.path, "0193a5f0-0000-7000-8000-000000000000")
		found := false
		for _, l := range lines {
			if !l.matches.MatchString(request) {
				continue
			}
			l.used, found = true, true
			switch {
			case o.internal():
				wrong = append(wrong, fmt.Sprintf("the gateway routes %s, which is for modules only: its line is %q", o, l.text))
			case l.module != o.module():
				wrong = append(wrong, fmt.Sprintf("the gateway routes %s to %s, but %s answers it", o, l.module, o.module()))
			}
		}
		if !found && !o.internal() {
			wrong = append(wrong, fmt.Sprintf("the gateway does not route %s to %s: add it to %s", o, o.module(), name))
		}
	}
	for _, l := range lines {
		if !l.used && !strings.HasPrefix(l.text, "GET /docs/") {
			wrong = append(wrong, fmt.Sprintf("the gateway routes %q, which is no operation of a contract", l.text))
		}
	}
	return wrong
}

func settingsTable(f files) []string {
	_, rest, begins := strings.Cut(f["README.md"], "<!-- settings -->")
	table, _, ends := strings.Cut(rest, "<!-- /settings -->")
	if !begins || !ends {
		return []string{"README.md has no table of settings between <!-- settings --> and <!-- /settings -->"}
	}
	var want bytes.Buffer
	if err := printSettings(&want); err != nil {
		return []string{err.Error()}
	}
	if strings.TrimSpace(table) != strings.TrimSpace(want.String()) {
		return []string{"the table of settings in README.md is not what `groundwork config` prints: make settings writes it"}
	}
	return nil
}

// What the walls ask of the files.

func (f files) has(name string) bool { _, ok := f[name]; return ok }

// match lists the files whose path matches, in order.
func (f files) match(pattern string) (names []string) {
	for name := range f {
		if ok, _ := path.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (f files) goFiles() (names []string) {
	for name := range f {
		if path.Ext(name) == ".go" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// modules are the folders of services.
func (f files) modules() (names []string) {
	for _, name := range f.match("services/*/*.go") {
		if m := strings.Split(name, "/")[1]; !slices.Contains(names, m) {
			names = append(names, m)
		}
	}
	return names
}

// versions are the folders of a module's contracts.
func (f files) versions(module string) (folders []string) {
	for _, name := range f.match("api/" + module + "/v*/*") {
		if folder := path.Dir(name); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders
}

func (f files) parse(name string) *ast.File {
	return mustParse(name, f[name], parser.SkipObjectResolution)
}

func (f files) parseHead(name string) *ast.File {
	return mustParse(name, f[name], parser.ImportsOnly|parser.ParseComments)
}

// mustParse panics on what is not Go: then nothing compiles and this test does not run.
func mustParse(name, content string, mode parser.Mode) *ast.File {
	file, err := parser.ParseFile(token.NewFileSet(), name, content, mode)
	if err != nil {
		panic(err)
	}
	return file
}

func (f files) importsOf(name string) (list []string) {
	for _, i := range f.parseHead(name).Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err)
		}
		list = append(list, imported)
	}
	return list
}

// operation is one operation of a contract.
type operation struct {
	contract, method, path string     // users/v1, GET, /v1/users/me
	scopes                 []string   // of all alternatives
	ways                   [][]string // the alternatives: the scopes of any of them will do
	public                 bool       // nobody has to say who they are
	anonymous              bool       // nobody has to, by the back door
	closed                 bool       // every alternative is for modules
}

func (o operation) String() string { return o.method + " " + o.path }

func (o operation) internal() bool { return o.closed }

// lets reports whether somebody with these scopes may ask for it.
func (o operation) lets(scopes []string) bool {
	return o.public || slices.ContainsFunc(o.ways, func(way []string) bool {
		return !slices.ContainsFunc(way, func(scope string) bool { return !slices.Contains(scopes, scope) })
	})
}

func (o operation) module() string { return path.Dir(o.contract) }

// contracts reads every operation of every contract, in order.
func (f files) contracts(wrong *[]string) (list []operation) {
	for _, name := range f.match("api/*/*/openapi.yaml") {
		doc, err := openapi3.NewLoader().LoadFromData([]byte(f[name]))
		if err != nil {
			*wrong = append(*wrong, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		for p, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				security := doc.Security
				if op.Security != nil {
					security = *op.Security
				}
				o := operation{contract: strings.TrimPrefix(path.Dir(name), "api/"), method: method, path: p, public: len(security) == 0, closed: len(security) > 0}
				for _, alternative := range security {
					o.anonymous = o.anonymous || len(alternative) == 0
					var asked []string
					for _, scopes := range alternative {
						asked = append(asked, scopes...)
					}
					o.scopes, o.ways = append(o.scopes, asked...), append(o.ways, asked)
					o.closed = o.closed && slices.Contains(asked, "internal")
				}
				list = append(list, o)
			}
		}
	}
	slices.SortFunc(list, func(a, b operation) int {
		return strings.Compare(a.contract+a.path+a.method, b.contract+b.path+b.method)
	})
	return list
}
