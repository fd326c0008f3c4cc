package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// parts are the sections of a contract that a resource has entries in, as paths of keys. Entries of shared ones belong to no resource:
// they are added where they are missing.
var parts = []struct {
	path   []string
	shared func(key string) bool
}{
	{[]string{"tags"}, none},
	{[]string{"paths"}, none},
	{[]string{"components", "securitySchemes", "oauth2", "flows", "clientCredentials", "scopes"}, all},
	{[]string{"components", "parameters"}, all},
	{[]string{"components", "headers"}, all},
	{[]string{"components", "responses"}, common},
	{[]string{"components", "schemas"}, common},
}

func none(string) bool { return false }
func all(string) bool  { return true }
func common(key string) bool {
	return slices.Contains([]string{"NotModified", "Problem", "Page", "FieldError"}, key)
}

// addResource puts the entries of one contract, a resource's, into another as text, so that what stands there keeps its comments and form.
func addResource(into, from string) (string, error) {
	source, target := strings.Split(from, "\n"), strings.Split(into, "\n")
	for _, part := range parts {
		at, ok := find(source, part.path)
		if !ok {
			return "", fmt.Errorf("the resource has no %s", strings.Join(part.path, "."))
		}
		there, ok := find(target, part.path)
		if !ok {
			if target, there, ok = open(target, part.path); !ok {
				return "", fmt.Errorf("there is no %s, with its entries on lines of their own", strings.Join(part.path, "."))
			}
		}
		var added []string
		known := entries(target, there)
		for _, e := range entries(source, at) {
			taken := slices.ContainsFunc(known, func(k entry) bool { return k.key == e.key })
			if taken && !part.shared(e.key) {
				return "", fmt.Errorf("%s has an entry %s already", part.path[len(part.path)-1], e.key)
			}
			if !taken {
				added = append(added, e.lines...)
			}
		}
		target = slices.Insert(target, there.end, added...)
	}
	made := strings.Join(target, "\n")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(made))
	if err == nil {
		err = doc.Validate(context.Background(), openapi3.DisableExamplesValidation())
	}
	return made, err
}

// section is where the entries under a key stand: lines begin to end, without the blank ones behind them, each indented so far.
type section struct{ begin, end, indent int }

// find finds what stands under a path of keys, in block style.
func find(lines []string, path []string) (section, bool) {
	at := section{0, len(lines), 0}
	for _, key := range path {
		line := -1
		for i := at.begin; i < at.end; i++ {
			if lines[i] == strings.Repeat(" ", at.indent)+key+":" {
				line = i
			}
		}
		if line < 0 {
			return at, false
		}
		at = section{line + 1, line + 1, at.indent + 2}
		for i := at.begin; i < len(lines); i++ {
			text := strings.TrimSpace(lines[i])
			if indent := len(lines[i]) - len(strings.TrimLeft(lines[i], " ")); text != "" && indent < at.indent {
				break
			}
			if text != "" {
				at.end = i + 1
			}
		}
	}
	return at, true
}

// open adds the last key of a path, with nothing in it: before the responses where those are its neighbours, else at the end.
func open(lines, path []string) ([]string, section, bool) {
	parent, ok := find(lines, path[:len(path)-1])
	if !ok || len(path) == 1 {
		return lines, parent, false
	}
	line := parent.end
	if at, there := find(lines, append(slices.Clone(path[:len(path)-1]), "responses")); there {
		line = at.begin - 1
	}
	lines = slices.Insert(lines, line, strings.Repeat(" ", parent.indent)+path[len(path)-1]+":")
	at, ok := find(lines, path)
	return lines, at, ok
}

// entry is one key of a section, with all that stands under it.
type entry struct {
	key   string
	lines []string
}

// A key of a map, or the name of a tag in a list.
var keyed = regexp.MustCompile(`^ *(?:- \{name: ([^,}]+)|- name: (.+)|'([^']+)':|"([^"]+)":|([^\s'"#-][^\s:]*):)`)

func entries(lines []string, at section) (list []entry) {
	for _, line := range lines[at.begin:at.end] {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		m := keyed.FindStringSubmatch(line)
		switch {
		case indent == at.indent && m != nil:
			list = append(list, entry{strings.Join(m[1:], ""), []string{line}})
		case len(list) > 0:
			list[len(list)-1].lines = append(list[len(list)-1].lines, line)
		}
	}
	return list
}
