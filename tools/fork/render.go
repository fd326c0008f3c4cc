package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"maps"
	"path"
	"slices"
	texts "text/template"
)

//go:embed templates/*.tmpl
var templateFiles embed.FS

var templates = texts.Must(texts.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*.tmpl"))

// render makes a file of a template; Go comes out formatted.
func render(name string, p plan) ([]byte, error) {
	var made bytes.Buffer
	if err := templates.ExecuteTemplate(&made, name+".tmpl", p); err != nil {
		return nil, err
	}
	if path.Ext(name) == ".go" {
		return format.Source(made.Bytes())
	}
	return made.Bytes(), nil
}

// add adds files that are not there yet, each by its template.
func (t tree) add(files map[string]string, p plan) (err error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, there := t[name]; there {
			return fmt.Errorf("%s is there already", name)
		}
		if t[name], err = render(files[name], p); err != nil {
			return err
		}
	}
	return nil
}
