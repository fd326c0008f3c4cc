package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
)

// beyond finds what breaks callers and oasdiff has no word for: a request in another media type, names of one's own that are refused, and a
// schema that has another name, which is a type in every generated client.
func beyond(before, after string) (list []change, err error) {
	was, err := load(before)
	is, err2 := load(after)
	if err := cmp.Or(err, err2); err != nil {
		return nil, err
	}
	old, now, used := operations(was), operations(is), map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		a, b := old[key], now[key]
		if b.operation == nil {
			continue // oasdiff says whether it may go, and what it alone used goes along
		}
		say := func(id, text string, args ...any) {
			list = append(list, change{ID: id, Text: fmt.Sprintf(text, args...), Operation: a.method, Path: a.path, Level: 3})
		}
		sent, known := a.request(), b.request()
		for _, media := range slices.Sorted(maps.Keys(sent)) {
			if known[media] == nil {
				say("request-media-type-changed", "the media type `%s` is no longer accepted", media)
			}
		}
		for at, schemas := range a.contents() {
			walk(schemas, b.contents()[at], at, map[*openapi3.Schema]bool{}, func(place string, a, b *openapi3.SchemaRef) {
				used[a.Ref] = true
				if b != nil && open(a.Value) && !open(b.Value) {
					say("additional-properties-removed", "%s has no names of the caller's own any more", place)
				}
			})
		}
	}
	if was.Components == nil {
		return list, nil
	}
	for _, name := range slices.Sorted(maps.Keys(was.Components.Schemas)) {
		if (is.Components == nil || is.Components.Schemas[name] == nil) && used["#/components/schemas/"+name] {
			list = append(list, change{ID: "schema-removed", Text: "the schema `" + name + "` is gone, a type of the clients", Section: "components", Level: 3})
		}
	}
	return list, nil
}

// load does not use LoadFromFile, which remembers what a file held before.
func load(name string) (*openapi3.T, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(text)
}

// operation is one of a contract.
type operation struct {
	method, path string
	operation    *openapi3.Operation
	parameters   openapi3.Parameters
}

// operations are those of a contract, by method and path, in which the names of parameters do not count.
func operations(doc *openapi3.T) map[string]operation {
	all := map[string]operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			all[method+" "+parameter.ReplaceAllString(path, "{}")] = operation{method, path, op, slices.Concat(item.Parameters, op.Parameters)}
		}
	}
	return all
}

func (o operation) request() openapi3.Content {
	if o.operation.RequestBody == nil {
		return nil
	}
	return o.operation.RequestBody.Value.Content
}

// contents are the schemas of what is sent and answered, by the place where they stand.
func (o operation) contents() map[string]*openapi3.SchemaRef {
	all := map[string]*openapi3.SchemaRef{}
	add := func(where string, content openapi3.Content) {
		for media, c := range content {
			all[where+" ("+media+")"] = c.Schema
		}
	}
	for _, p := range o.parameters {
		all["the parameter "+p.Value.Name] = p.Value.Schema
	}
	add("the request", o.request())
	for status, answer := range o.operation.Responses.Map() {
		add("the answer "+status, answer.Value.Content)
	}
	return all
}

// walk visits a schema and all below it, with what stands at the same place afterwards, nil for nothing.
func walk(a, b *openapi3.SchemaRef, place string, seen map[*openapi3.Schema]bool, visit func(place string, a, b *openapi3.SchemaRef)) {
	if a == nil || seen[a.Value] {
		return
	}
	seen[a.Value] = true
	visit(place, a, b)
	other := &openapi3.Schema{}
	if b != nil {
		other = b.Value
	}
	for name, property := range a.Value.Properties {
		walk(property, other.Properties[name], place+"/"+name, seen, visit)
	}
	walk(a.Value.Items, other.Items, place+"/items", seen, visit)
	walk(a.Value.AdditionalProperties.Schema, other.AdditionalProperties.Schema, place+"/*", seen, visit)
}

// open reports whether an object may have other names than those of its properties, and says so.
func open(s *openapi3.Schema) bool {
	more := s.AdditionalProperties
	return more.Schema != nil || more.Has != nil && *more.Has
}
