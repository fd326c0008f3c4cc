package main

import (
	"maps"
	"strings"
)

// withBooks is the house with two modules more, books and shelves, which the walls' breaks break: so they break something whatever modules a fork
// has.
func withBooks(house files) files {
	house = maps.Clone(house)
	maps.Copy(house, files{
		"api/books/v1/openapi.yaml":       booksContract,
		"api/books/v1/config.yaml":        "",
		"api/books/v1/doc.go":             "// Package booksv1 is a contract.\npackage booksv1",
		"api/books/v1/gen.go":             "package booksv1\ntype StrictServerInterface interface{}",
		"migrations/books/0001_books.sql": "create table books.books (id uuid primary key);",
		"services/books/module.go":        "// Package books keeps books.\npackage books\ntype Module struct{}",
		"services/books/handlers.go":      "package books",
		"services/books/store.go":         "package books",
		"services/books/module_test.go":   "package books",
		"api/shelves/v1/openapi.yaml":     shelvesContract,
	})
	insert := func(name, before, text string) {
		house[name] = strings.Replace(house[name], before, before+"\n"+text, 1)
	}
	insert("deploy/gateway/Caddyfile", `map "{meant} {path}" {module} {`, `		"GET /v1/books/mine" books`)
	// only with auth:
	insert("services/auth/roles.go", "var permissions = map[string][]string{", `	"reader": {"books:read", "books:write"},`)
	// end auth
	return house
}

const booksContract = `openapi: 3.0.3
info: {title: books, version: 1.0.0}
security:
  - oauth2: []
paths:
  /v1/books/mine:
    get:
      security:
        - oauth2: ['books:read']
      responses: {'204': {description: Read.}}
  /v1/books/{id}:
    get:
      security:
        - oauth2: [internal]
      responses: {'204': {description: Read.}}
    put:
      security:
        - oauth2: [internal]
      responses: {'204': {description: Told.}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /v1/auth/token, scopes: {}}}}
`

const shelvesContract = `openapi: 3.0.3
info: {title: shelves, version: 1.0.0}
paths:
  /v1/shelves:
    get:
      security: [oauth2: [internal]]
      responses: {'204': {description: Read.}}
  /v1/shelves/{id}:
    get:
      security: [oauth2: [internal]]
      responses: {'204': {description: Read.}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /v1/auth/token, scopes: {}}}}
`
