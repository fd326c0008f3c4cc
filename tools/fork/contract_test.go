package main

import (
	"strings"
	"testing"
)

// A contract as somebody has it: comments, a form of its own, and not every section.
const theirs = `openapi: 3.0.3
info: {title: shop, version: 1.0.0}
tags:
  - {name: shelves, description: 'Where, things: stand.'}
security:
  - oauth2: []
paths:
  # the one thing
  /v1/shelves:
    get:
      operationId: listShelves
      description: >
        In words
        of two lines.
      responses:
        default: {$ref: '#/components/responses/Problem'}

components:
  securitySchemes:
    oauth2:
      type: oauth2
      flows:
        clientCredentials:
          tokenUrl: /v1/auth/token
          scopes:
            'shelves:read': look # at them
  responses:
    Problem:
      description: What went wrong.
      content:
        application/problem+json:
          schema: {$ref: '#/components/schemas/Problem'}
  schemas:
    Problem: {type: object} # ours
`

func bolts(t *testing.T) string {
	t.Helper()
	n, err := newNoun("bolts", "")
	if err != nil {
		t.Fatal(err)
	}
	alone, err := render("openapi.yaml", plan{noun: n, Module: "shop", Scope: "bolts", ScopeWords: "bolts"})
	if err != nil {
		t.Fatal(err)
	}
	return string(alone)
}

func TestAResourceIsAddedAndEveryLineThatWasThereStays(t *testing.T) {
	t.Parallel()
	made, err := addResource(theirs, bolts(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, made)
	}
	rest := made
	for line := range strings.Lines(theirs) {
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Fatalf("the line %q is gone, or not behind those before it:\n%s", line, made)
		}
		rest = after
	}
	for _, want := range []string{
		"things: stand.'}\n  - {name: bolts,", "Problem'}\n  /v1/bolts:\n", "look # at them\n            'bolts:read'", "  parameters:\n    Id:", "  headers:\n    ETag:",
		"\n    NotModified:", "# ours\n    NewBolt:", "\n    Page:", "\n    BoltPage:",
	} {
		if strings.Count(made, want) != 1 {
			t.Errorf("%q is there %d times:\n%s", want, strings.Count(made, want), made)
		}
	}
	if strings.Index(made, "  parameters:\n    Id:") > strings.Index(made, "\n  responses:\n") || strings.Count(made, "\n    Problem:") != 2 {
		t.Errorf("the sections stand in another order, or Problem was added:\n%s", made)
	}
}

func TestAResourceThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, says string }{
		{"Problem: {type: object}", "Bolt: {type: string}\n    Problem: {type: object}", "schemas has an entry Bolt already"},
		{"  - {name: shelves", "  - {name: bolts}\n  - {name: shelves", "tags has an entry bolts already"},
		{"paths:\n", "paths: {}\n", "there is no paths"},
		{"scopes:\n", "grants:\n", "grants"},
		{"type: object}", "type: thing}", "thing"},
	} {
		if _, err := addResource(strings.Replace(theirs, c.old, c.new, 1), bolts(t)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("with %q: %v, want %q", c.new, err, c.says)
		}
	}
}
