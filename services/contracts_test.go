package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The conventions of the contracts, so that a caller who knows one operation knows them all. Each is a function over one contract that says
// where it is not kept. contracts_breaks_test.go breaks each on purpose, in the model contract testdata/things.yaml, which keeps them all.

type convention struct {
	name  string
	check func(c contract, say say)
}

var conventions = []convention{
	{"a contract says what it is", identity},
	{"paths are plural nouns in kebab-case", nouns},
	{"names are snake_case, headers are Capitalized-Words", names},
	{"every operation says what it is", spoken},
	{"every operation says how it ends", endings},
	{"a problem is the same everywhere", problems},
	{"what comes in is closed", closed},
	{"what comes in has a bound", bounds},
	{"schemas are plain", plain},
	{"an id is a uuid, a time is a date-time called …_at", idsAndTimes},
	{"money is an integer beside its currency", money},
	{"a POST of money has an Idempotency-Key", idempotency},
	{"an update is a merge patch on a version", updates},
	{"one thing has an ETag", etags},
	{"a list has pages", pages},
	{"scopes are declared", scopes},
	{"what goes says when", deprecations},
}

type exception struct{ convention, where, why string }

// exceptions are the places where a convention is not kept, and why. One that nothing needs any more is wrong too.
var exceptions = []exception{
	// only with auth:
	{"a contract says what it is", "/.well-known/jwks.json", "RFC 8615 has such paths at the root"},
	{"a contract says what it is", "/.well-known/oauth-authorization-server", "RFC 8615 has such paths at the root"},
	{"paths are plural nouns in kebab-case", "/.well-known/jwks.json", "its name is known everywhere"},
	{"paths are plural nouns in kebab-case", "/.well-known/oauth-authorization-server", "RFC 8414 names it"},
	{"paths are plural nouns in kebab-case", "/v1/auth/register", "keeps the address secret: it makes nothing that could be named"},
	{"paths are plural nouns in kebab-case", "/v1/auth/email/verify", "a step of a registration, which has no name for its owner"},
	{"paths are plural nouns in kebab-case", "/v1/auth/email/verify/resend", "a step of a registration, which has no name for its owner"},
	{"paths are plural nouns in kebab-case", "/v1/auth/email/change", "keeps secret whether somebody has the address: it makes nothing that could be named"},
	{"paths are plural nouns in kebab-case", "/v1/auth/password", "there is one"},
	{"paths are plural nouns in kebab-case", "/v1/auth/password/forgot", "keeps the address secret: it makes nothing that could be named"},
	{"paths are plural nouns in kebab-case", "/v1/auth/password/reset", "the token of the mail names whose"},
	{"paths are plural nouns in kebab-case", "/v1/auth/mfa/verify", "a step of a login"},
	{"paths are plural nouns in kebab-case", "/v1/auth/mfa/totp", "there is one"},
	{"paths are plural nouns in kebab-case", "/v1/auth/mfa/totp/confirm", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/mfa/recovery-codes", "mfa is what they are for"},
	{"paths are plural nouns in kebab-case", "/v1/auth/reauthenticate", "what RFC 9470 asks for"},
	{"paths are plural nouns in kebab-case", "/v1/auth/identities/{id}/disable", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/identities/{id}/enable", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/identities/{id}/unlock", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/identities/{id}/totp", "there is one at the most"},
	{"paths are plural nouns in kebab-case", "/v1/auth/identities/{id}/password-reset", "makes nothing that could be named: its owner gets a mail"},
	{"one thing has an ETag", "GET /v1/auth/identities/{id}", "looked at once, by people; that they looked is noted each time"},
	{"a list has pages", "GET /v1/auth/identities", "an address has one account at the most"},
	{"an id is a uuid, a time is a date-time called …_at", "POST /v1/auth/audit-events request_id", "as it came with the request: a caller may choose it"},
	{"an id is a uuid, a time is a date-time called …_at", "GET /v1/auth/audit-events data/*/request_id", "as it came with the request: a caller may choose it"},
	{"paths are plural nouns in kebab-case", "/v1/auth/api-keys/{id}/rotate", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/service-accounts/{id}/rotate", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/auth/login", "what everybody calls it"},
	{"paths are plural nouns in kebab-case", "/v1/auth/logout", "what everybody calls it"},
	{"paths are plural nouns in kebab-case", "/v1/auth/token", "RFC 6749 calls it the token endpoint"},
	{"paths are plural nouns in kebab-case", "/v1/auth/revoke", "RFC 7009 calls it so"},
	{"what comes in is closed", "POST /v1/auth/token", "RFC 6749, section 3.2: unknown parameters are ignored"},
	{"what comes in is closed", "POST /v1/auth/revoke", "RFC 6749, section 3.2: unknown parameters are ignored"},
	{"an id is a uuid, a time is a date-time called …_at", "POST /v1/auth/token client_id", "RFC 6749 names it; here it is a module's name"},
	{"one thing has an ETag", "GET /.well-known/jwks.json", "public for a minute by Cache-Control"},
	{"one thing has an ETag", "GET /.well-known/oauth-authorization-server", "public for minutes by Cache-Control"},
	// end auth
	// only with users:
	{"paths are plural nouns in kebab-case", "/v1/users/me", "the caller's own, without an id to know"},
	{"one thing has an ETag", "GET /v1/users/{id}", "modules keep no copy; that a person looked is noted each time"},
	// end users
	// only with transactions:
	{"one thing has an ETag", "GET /v1/transactions/{id}", "a transaction is never changed"},
	{"paths are plural nouns in kebab-case", "/v1/accounts/{id}/freeze", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/accounts/{id}/unfreeze", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/accounts/{id}/close", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/holds/{id}/capture", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/holds/{id}/void", "a transition with rules of its own, not a field to write"},
	{"paths are plural nouns in kebab-case", "/v1/ledger/integrity", "there is one ledger"},
	{"paths are plural nouns in kebab-case", "/v1/transactions/{id}/reversal", "there is one at the most"},
	{"money is an integer beside its currency", "POST /v1/holds/{id}/capture amount", "of the hold, which has a currency"},
	{"a POST of money has an Idempotency-Key", "POST /v1/transactions", "a dry run has none; the handler refuses anything else without"},
	// end transactions
}

// say notes that a convention is not kept.
type say func(where, what string, args ...any)

// finding is one place where a convention is not kept.
type finding struct{ convention, contract, where, what string }

func (f finding) String() string { return fmt.Sprintf("%s: %s: %s", f.contract, f.where, f.what) }

// contract reads one of the contracts among the files.
func (f files) contract(name string) (contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(f[name]))
	if err != nil {
		return contract{}, err
	}
	parts := strings.Split(name, "/")
	c := contract{module: parts[1], version: parts[2], text: f[name], doc: doc, all: f}
	for p, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			c.operations = append(c.operations, described{op, method, p, append(slices.Clone(item.Parameters), op.Parameters...)})
		}
	}
	slices.SortFunc(c.operations, func(a, b described) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return c, nil
}

// findings holds every contract among the files against every convention.
func (f files) findings() (list []finding) {
	for _, name := range f.match("api/*/*/openapi.yaml") {
		c, err := f.contract(name)
		if err != nil {
			list = append(list, finding{conventions[0].name, name, "the file", err.Error()})
			continue
		}
		for _, rule := range conventions {
			rule.check(c, func(where, what string, args ...any) {
				list = append(list, finding{rule.name, name, where, fmt.Sprintf(what, args...)})
			})
		}
	}
	return list
}

func TestTheContractsKeepTheConventions(t *testing.T) {
	t.Parallel()
	used := map[int]bool{}
	for _, found := range theHouse(t).findings() {
		i := slices.IndexFunc(exceptions, func(e exception) bool {
			return e.convention == found.convention && e.where == found.where
		})
		if i < 0 {
			t.Errorf("%s (%s)", found, found.convention)
		}
		used[i] = true
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("the exception %q of %q is not needed: take it out of the list", e.where, e.convention)
		}
	}
}

// contract is one document with its operations in order.
type contract struct {
	module, version, text string
	doc                   *openapi3.T
	operations            []described
	all                   files
}

// described is an operation with the parameters of its path.
type described struct {
	*openapi3.Operation
	method, path string
	parameters   openapi3.Parameters
}

func (o described) String() string { return o.method + " " + o.path }

// parameter returns the named parameter, or nil.
func (o described) parameter(in, name string) *openapi3.Parameter {
	return o.parameters.GetByInAndName(in, name)
}

// success lists the answers that are no failures, by status.
func (o described) success() map[string]*openapi3.Response {
	found := map[string]*openapi3.Response{}
	for status, r := range o.Responses.Map() {
		if status[0] == '2' {
			found[status] = r.Value
		}
	}
	return found
}

// field is a schema with its place in a request or an answer, such as postings/*/amount, and the object that has it.
type field struct {
	place  string
	schema *openapi3.Schema
	parent *openapi3.Schema
}

// name is the last name in the field's place.
func (f field) name() string { return path.Base(f.place) }

// walk lists a schema and all that is within it. A schema that holds itself is listed once.
func walk(at field, above ...*openapi3.Schema) (list []field) {
	s := at.schema
	if slices.Contains(above, s) {
		return nil
	}
	above = append(slices.Clip(above), s)
	list = append(list, at)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		list = append(list, walk(field{path.Join(at.place, name), s.Properties[name].Value, s}, above...)...)
	}
	if s.Items != nil {
		list = append(list, walk(field{path.Join(at.place, "*"), s.Items.Value, nil}, above...)...)
	}
	if s.AdditionalProperties.Schema != nil {
		list = append(list, walk(field{path.Join(at.place, "*"), s.AdditionalProperties.Schema.Value, nil}, above...)...)
	}
	return list
}

func walkContent(content openapi3.Content) (list []field) {
	for _, media := range slices.Sorted(maps.Keys(content)) {
		list = append(list, walk(field{"", content[media].Schema.Value, nil})...)
	}
	return list
}

// body is what the body of a request may hold, incoming its parameters too, outgoing what its successes answer.
func (o described) body() []field {
	if o.RequestBody == nil {
		return nil
	}
	return walkContent(o.RequestBody.Value.Content)
}

func (o described) incoming() (list []field) {
	for _, p := range o.parameters {
		list = append(list, walk(field{p.Value.Name, p.Value.Schema.Value, nil})...)
	}
	return append(list, o.body()...)
}

func (o described) outgoing() (list []field) {
	success := o.success()
	for _, status := range slices.Sorted(maps.Keys(success)) {
		list = append(list, walkContent(success[status].Content)...)
	}
	return list
}
