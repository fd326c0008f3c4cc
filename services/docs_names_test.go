package main

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s#]*)(#[^)\s]*)?\)`)
	heading = regexp.MustCompile(`(?m)^(#+) (.*)$`)
)

// links returns which of a page's links lead nowhere.
func (p page) links(tree files) (wrong []string) {
	for _, m := range link.FindAllStringSubmatchIndex(p.prose, -1) {
		where, target, anchor := p.at(m[0]), p.prose[m[2]:m[3]], ""
		if m[4] >= 0 {
			anchor = p.prose[m[4]:m[5]]
		}
		if strings.Contains(target, "://") {
			continue
		}
		file := p.name
		if target != "" {
			file = path.Join(path.Dir(p.name), target)
		}
		switch {
		case !slices.Contains(tree.places(), file):
			wrong = append(wrong, fmt.Sprintf("%s links to %s, which is not there", where, target))
		case anchor != "" && !slices.Contains(anchors(tree[file]), anchor):
			wrong = append(wrong, fmt.Sprintf("%s links to %s%s, and there is no such heading", where, target, anchor))
		}
	}
	return wrong
}

// anchors are what the headings of a page are linked by.
func anchors(text string) (list []string) {
	for _, m := range heading.FindAllStringSubmatch(parsePage("", text).prose, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[2]), "")
		list = append(list, "#"+strings.ReplaceAll(name, " ", "-"))
	}
	return list
}

// at says where in the page an offset is.
func (p page) at(offset int) string {
	return fmt.Sprintf("%s:%d", p.name, 1+strings.Count(p.prose[:offset], "\n"))
}

var (
	span       = regexp.MustCompile("`((?:[^`\n]|\n[^`\n])+)`")
	inFile     = regexp.MustCompile("((?:`[^`]+`(?:,\\s+and\\s+|,\\s+|\\s+and\\s+|\\s+or\\s+))*`[^`]+`)\\s+in\\s+`([^`\\s]+\\.(?:go|sql|yaml))`")
	simpleName = regexp.MustCompile(`^\w+(\.\w+)*$`)
	target     = regexp.MustCompile(`(?m)^\s*make (?:-\w+ )?([a-z-]+)`)
	treePath   = regexp.MustCompile(`(?:api|services|pkg|migrations|deploy|docs|tools)/[\w./<>*-]*[\w>*]`)
)

// names returns what a page names that is not there.
func (p page) names(tree files) (wrong []string) {
	for _, m := range span.FindAllStringSubmatchIndex(p.prose, -1) {
		if says := p.naming(tree, strings.Join(strings.Fields(p.prose[m[2]:m[3]]), " ")); says != "" {
			wrong = append(wrong, p.at(m[0])+" names "+says)
		}
	}
	for _, b := range p.blocks {
		var named []string
		switch b.lang {
		case "bash", "shell", "console", "zsh":
			wrong = append(wrong, fmt.Sprintf("%s:%d is marked %s: mark commands as sh, so that they are run", p.name, b.line, b.lang))
		case "sh":
			named = target.FindAllString(b.text, -1)
		case "text":
			named = treePath.FindAllString(b.text, -1)
		}
		for _, name := range named {
			if says := p.naming(tree, strings.TrimSpace(name)); says != "" {
				line := b.line + 1 + strings.Count(b.text[:strings.Index(b.text, name)], "\n")
				wrong = append(wrong, fmt.Sprintf("%s:%d names %s", p.name, line, says))
			}
		}
	}
	for _, m := range inFile.FindAllStringSubmatchIndex(p.prose, -1) {
		file := p.prose[m[4]:m[5]]
		if slices.Contains(p.toBeMade, file) {
			continue
		}
		for _, name := range span.FindAllStringSubmatch(p.prose[m[2]:m[3]], -1) {
			if !tree.declares(file, name[1]) {
				wrong = append(wrong, fmt.Sprintf("%s: there is no %s in %s", p.at(m[0]), name[1], file))
			}
		}
	}
	return wrong
}

var (
	operationName = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) (/v\d[^?…]*)$`)
	settingName   = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	testName      = regexp.MustCompile(`^Test[A-Z]\w+$`)
	ofPackage     = regexp.MustCompile(`^([a-z]+)\.([A-Z]\w*)`)
	fileName      = regexp.MustCompile(`^[\w.<>*/-]+$`)
	extension     = regexp.MustCompile(`\w\.(go|sql|ya?ml|md|css|html|js|ts|mod|tmpl)$`)
)

// naming says what is wrong with something that a page has between backticks, "" when nothing is.
func (p page) naming(tree files, name string) string {
	top, _, inside := strings.Cut(name, "/")
	switch m := ofPackage.FindStringSubmatch(name); {
	case strings.HasPrefix(name, "make "):
		if m := target.FindStringSubmatch(name); m == nil || !strings.Contains(tree["Makefile"], "\n"+m[1]+":") {
			return name + ", which is no target of the Makefile"
		}
	case operationName.MatchString(name):
		if m := operationName.FindStringSubmatch(name); !tree.operation(m[1], m[2]) {
			return name + ", which is in no contract"
		}
	case testName.MatchString(name):
		if !tree.mentions("_test.go", "func "+name+"(") {
			return name + ", and there is no such test"
		}
	case settingName.MatchString(name):
		if !tree.mentions("", name) && !strings.Contains(tree["README.md"], "\n| `"+name+"` ") {
			return name + ", which nothing reads"
		}
	case m != nil && len(tree.match("pkg/"+m[1]+"/*.go"))+len(tree.match("pkg/*/"+m[1]+"/*.go")) > 0:
		if !tree.declares(m[1]+"/*.go", m[2]) {
			return m[1] + "." + m[2] + ", which the package " + m[1] + " does not have"
		}
	case fileName.MatchString(name) && !strings.HasPrefix(name, "_") && top != ".local" && (inside && slices.Contains(tree.places(), top) || extension.MatchString(name)):
		if len(tree.called(name)) == 0 && !slices.Contains(p.toBeMade, name) {
			return name + ", which is not there"
		}
	}
	return ""
}

// called are the files and folders that a page means by a name: a whole path, or the end of one. <module> stands for any.
func (f files) called(name string) (list []string) {
	pattern := strings.TrimSuffix(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(name, "*"), "/")
	depth := strings.Count(pattern, "/") + 1
	for _, place := range f.places() {
		parts := strings.Split(place, "/")
		if ok, _ := path.Match(pattern, strings.Join(parts[max(0, len(parts)-depth):], "/")); ok {
			list = append(list, place)
		}
	}
	return list
}

// places are the files and their folders, in order.
func (f files) places() []string {
	all := map[string]bool{}
	for name := range f {
		for ; name != "."; name = path.Dir(name) {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// operation reports whether a contract has it.
func (f files) operation(method, address string) bool {
	for _, name := range f.match("api/*/*/openapi.yaml") {
		_, rest, found := strings.Cut(f[name], "\n  "+address+":\n")
		item, _, _ := strings.Cut(rest, "\n  /")
		if found && strings.Contains("\n"+item, "\n    "+strings.ToLower(method)+":") {
			return true
		}
	}
	return false
}

// mentions reports whether a file that is no page and whose name ends so has the word.
func (f files) mentions(suffix, word string) bool {
	for name, content := range f {
		if path.Ext(name) != ".md" && strings.HasSuffix(name, suffix) && strings.Contains(content, word) {
			return true
		}
	}
	return false
}

// declares reports whether a file has something of that name: in Go a declaration, a method (store.post) or a field, elsewhere the words.
func (f files) declares(file, name string) bool {
	for _, file := range f.called(file) {
		if !f.has(file) {
			continue
		}
		if path.Ext(file) != ".go" || !simpleName.MatchString(name) {
			if strings.Contains(f[file], name) {
				return true
			}
		} else if slices.Contains(declared(f.parse(file)), name) {
			return true
		}
	}
	return false
}

// declared are the names that a file of Go gives: a method and a field also behind their type's.
func declared(file *ast.File) (list []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			list = append(list, n.Name.Name)
			if n.Recv != nil {
				receiver := n.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if id, ok := receiver.(*ast.Ident); ok {
					list = append(list, id.Name+"."+n.Name.Name)
				}
			}
			return false
		case *ast.ValueSpec:
			for _, id := range n.Names {
				list = append(list, id.Name)
			}
		case *ast.StructType:
			list = append(list, fieldsOf(n, "")...)
		case *ast.TypeSpec:
			list = append(list, n.Name.Name)
			list = append(list, fieldsOf(n.Type, n.Name.Name+".")...)
		}
		return true
	})
	return list
}

// fieldsOf are the fields of a struct or the methods of an interface, behind its name.
func fieldsOf(n ast.Expr, name string) (list []string) {
	var fields []*ast.Field
	switch t := n.(type) {
	case *ast.StructType:
		fields = t.Fields.List
	case *ast.InterfaceType:
		fields = t.Methods.List
	}
	for _, field := range fields {
		for _, id := range field.Names {
			list = append(list, name+id.Name)
		}
	}
	return list
}
