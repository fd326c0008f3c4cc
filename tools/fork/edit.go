package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// region is lines that are there for one module only, between the marks by which they can be taken out. comment is how a comment begins.
func region(comment, module string, lines ...string) []string {
	return slices.Concat([]string{comment + " only with " + module + ":"}, lines, []string{comment + " end " + module})
}

// indent puts lines further in.
func indent(by string, lines []string) []string {
	in := slices.Clone(lines)
	for i := range in {
		if in[i] != "" {
			in[i] = by + in[i]
		}
	}
	return in
}

// text is a file in lines, with a place in it at which lines are put. Once something is not found it stays lost.
type text struct {
	lines []string
	from  int // what is searched: from … to
	to    int
	lost  string
}

func lines(content []byte) *text {
	l := strings.Split(string(content), "\n")
	return &text{lines: l, to: len(l)}
}

// in narrows the search to what stands from a line that begins so to the next one that is not further in.
func (t *text) in(line string) *text {
	made := *t
	made.from = t.find(line)
	if made.from < 0 {
		made.lost = line
		return &made
	}
	depth := len(line) - len(strings.TrimLeft(line, " \t"))
	for made.to = made.from + 1; made.to < t.to; made.to++ {
		next := strings.TrimLeft(t.lines[made.to], " \t")
		if next != "" && len(t.lines[made.to])-len(next) <= depth {
			break
		}
	}
	return &made
}

// find returns the first line that begins so, -1 for none.
func (t *text) find(prefix string) int {
	for i := t.from; i < t.to; i++ {
		if strings.HasPrefix(t.lines[i], prefix) {
			return i
		}
	}
	return -1
}

// afterLast puts lines behind the last one that has any of the words, or behind the region that this one stands in alone.
func (t *text) afterLast(words []string, more []string) ([]byte, error) {
	if t.lost != "" {
		return nil, fmt.Errorf("has no line that begins with %q", t.lost)
	}
	for i := t.to - 1; i >= t.from; i-- {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(t.lines[i], w) }) {
			continue
		}
		if i+1 < len(t.lines) && strings.HasPrefix(strings.TrimSpace(t.lines[i+1]), "# end ") {
			i++
		}
		return []byte(strings.Join(slices.Insert(slices.Clone(t.lines), i+1, more...), "\n")), nil
	}
	return nil, fmt.Errorf("has no line with %q to put others behind", words)
}

// before puts lines before the first one that is this one, spaces aside.
func (t *text) before(line string, more []string) ([]byte, error) {
	for i := t.from; i < t.to && t.lost == ""; i++ {
		if strings.TrimSpace(t.lines[i]) == line {
			return []byte(strings.Join(slices.Insert(slices.Clone(t.lines), i, more...), "\n")), nil
		}
	}
	return nil, fmt.Errorf("has no line %q to put others before", line)
}

// inLiteral puts lines at the end of a composite literal of a Go file: the value of a variable, or in it that of a key. With a module they
// stand in its region there.
func inLiteral(source []byte, variable, key, module string, more ...string) ([]byte, error) {
	return literally(source, false, variable, key, module, more)
}

func literally(source []byte, first bool, variable, key, module string, more []string) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	literal := literalOf(file, variable, key)
	if literal == nil {
		return nil, fmt.Errorf("has no list %s %s to add to", variable, key)
	}
	end := set.Position(literal.Rbrace).Offset
	if first {
		end = set.Position(literal.Lbrace).Offset + 1
	}
	if module != "" {
		begin := set.Position(literal.Lbrace).Offset
		if at := bytes.Index(source[begin:end], []byte("// end "+module+"\n")); at >= 0 {
			end = begin + at
		} else {
			more = region("//", module, more...)
		}
	}
	comma := ""
	if n := len(literal.Elts); n > 0 && !first {
		if last := set.Position(literal.Elts[n-1].End()).Offset; source[last] != ',' {
			comma, end = ",", last
		}
	}
	made := slices.Concat(bytes.TrimRight(source[:end], " \t\n"), []byte(comma+"\n"+strings.Join(more, "\n")+"\n"), source[end:])
	return format.Source(made)
}

// literalOf finds the composite literal that a variable of the package is, or the one under a key of it.
func literalOf(file *ast.File, variable, key string) (found *ast.CompositeLit) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != variable || len(spec.Values) == 0 {
			return true
		}
		found, _ = spec.Values[0].(*ast.CompositeLit)
		if found == nil || key == "" {
			return false
		}
		whole := found
		found = nil
		for _, e := range whole.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			if name, ok := pair.Key.(*ast.Ident); ok && name.Name == key {
				found, _ = pair.Value.(*ast.CompositeLit)
			}
		}
		return false
	})
	return found
}

// withImport adds an import beside those of our own.
func withImport(source []byte, ours, name, path string) ([]byte, error) {
	at := bytes.Index(source, []byte("\t"+`"`+ours+"/"))
	if named := bytes.Index(source, []byte(` "`+ours+"/")); named >= 0 && (at < 0 || named < at) {
		at = bytes.LastIndexByte(source[:named], '\n') + 1
	}
	if at < 0 {
		return nil, fmt.Errorf("imports nothing of %s", ours)
	}
	return format.Source(slices.Concat(source[:at], []byte("\t"+name+` "`+path+"\"\n"), source[at:]))
}
