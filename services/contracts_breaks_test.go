package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const model = "api/things/v1/openapi.yaml"

// modelContract is the model as a house of its own.
func modelContract(t *testing.T) files {
	t.Helper()
	text, err := os.ReadFile("testdata/things.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return files{model: string(text)}
}

// conventionBreaks are, for each convention, changes to the model that it must find: what is replaced by what, and where it is found and why.
var conventionBreaks = map[string][]struct{ old, new, where, why string }{
	"a contract says what it is": {
		{"openapi: 3.0.3", "openapi: 3.0.0", "openapi", "tools read 3.0.3 best"},
		{"title: things", "title: gadgets", "info.title", "it is the name of the module, things"},
		{"version: 1.0.0", "version: 2.0.0", "info.version", "is 2.0.0 in the folder v1"},
		{"url: /", "url: https://api.example.com/", "servers", "a contract does not know where it is served"},
		{"summary: Sell a thing", "summary: Sell a thing ", "the file", "ends in a blank"},
		{"  /v1/things:", "  /v2/things:", "/v2/things", "does not begin with /v1/"},
		{"  /v1/things:", "  /things:", "/things", "does not begin with /v1/"},
		{"'#/components/parameters/Limit'", "'#/components/parameters/Gone'", "the file", "Gone"},
	},
	"paths are plural nouns in kebab-case": {
		{"  /v1/things:", "  /v1/sellThings:", "/v1/sellThings", "is no plural noun in kebab-case"},
		{"  /v1/things:", "  /v1/things/search:", "/v1/things/search", `"search" is no plural noun`},
		{"  /v1/things:", "  /v1/gift_cards:", "/v1/gift_cards", "is no plural noun in kebab-case"},
	},
	"names are snake_case, headers are Capitalized-Words": {
		{"        name: {type: string, minLength", "        firstName: {type: string, minLength", "POST /v1/things firstName", "is not snake_case"},
		{"        has_more: {type: boolean}", "        HasMore: {type: boolean}", "GET /v1/things page/HasMore", "is not snake_case"},
		{"      name: cursor", "      name: pageCursor", "GET /v1/things pageCursor", "is not as a name in the query is"},
		{"      name: cursor\n      in: query", "      name: __Secure-Cursor\n      in: cookie", "GET /v1/things __Secure-Cursor", "is not as a name in the cookie is"},
		{"      name: If-Match", "      name: if_match", "PATCH /v1/things/{id} if_match", "is not as a name in the header is"},
		{"            Location:", "            x_location:", "POST /v1/things 201 x_location", "is not Capitalized-Words"},
	},
	"every operation says what it is": {
		{"operationId: createThing", "operationId: create_thing", "POST /v1/things", "is not camelCase"},
		{"      operationId: createThing\n", "", "POST /v1/things", `the operationId "" is not camelCase`},
		{"      summary: Sell a thing\n", "", "POST /v1/things", `the summary "" is not a few words`},
		{"summary: Sell a thing", "summary: Sells a thing.", "POST /v1/things", "without a full stop"},
		{"      tags: [things]\n", "", "GET /v1/things", "has the tags []"},
		{"tags: [things]", "tags: [other]", "GET /v1/things", `has the tags ["other"]`},
		{"{name: things, desc", "{name: gadgets, desc", "tag gadgets", "has no operation or no description"},
		{"{name: things, description: Things that have a price.}", "{name: things}", "tag things", "has no operation or no description"},
	},
	"every operation says how it ends": {
		{"'204': {description: It is gone.}", "'304': {description: It is gone.}", "DELETE /v1/things/{id}", "has no success"},
		{"        '204': {description: It is gone.}\n        default: {$ref: '#/components/responses/Problem'}", "        '204': {description: It is gone.}", "DELETE /v1/things/{id}", "has no `default` answer of Problem"},
		{"application/problem+json", "application/json", "GET /v1/things", "has no `default` answer of Problem as application/problem+json"},
		{"'204': {description: It is gone.}", "'204': {description: It is gone.}\n        '404': {description: It was never there.}", "DELETE /v1/things/{id}", "spells out 404"},
		{"      x-successor: /v1/things/{id}\n      security:\n        - oauth2: ['things:write']\n      responses:\n", "      x-errors: oauth\n      responses:\n        '403': {description: No.}\n", "DELETE /v1/things/{id}", "spells out 403"},
		{"      operationId: deleteThing", "      operationId: deleteThing\n      x-errors: oauth", "DELETE /v1/things/{id}", "has no `default` answer of OAuthError as application/json"},
	},
	"a problem is the same everywhere": {
		{"        request_id: {type: string}\n", "        request_id: {type: string}\n        hint: {type: string}\n", "#/components/schemas/Problem", "is not word for word"},
		{"required: [pointer, code, detail]", "required: [pointer, code]", "#/components/schemas/FieldError", "is not word for word"},
	},
	"what comes in is closed": {
		{"    NewThing:\n      type: object\n      additionalProperties: false\n", "    NewThing:\n      type: object\n", "POST /v1/things", "is open"},
		{"    ThingPatch:\n      type: object\n      additionalProperties: false", "    ThingPatch:\n      type: object\n      additionalProperties: true", "PATCH /v1/things/{id}", "is open"},
		{"size: {type: integer, minimum: 1, maximum: 1000}", "size: {type: object, properties: {cm: {type: integer, minimum: 1, maximum: 9}}}", "POST /v1/things size", "is open"},
	},
	"what comes in has a bound": {
		{"name: {type: string, minLength: 1, maxLength: 200}", "name: {type: string, minLength: 1}", "POST /v1/things name", "has no maxLength"},
		{"pattern: '^[A-Z]{3}$'", "pattern: '^[A-Z]+$'", "POST /v1/things currency", "has no maxLength"},
		{"pattern: '^[A-Z]{3}$'", "pattern: '[A-Z]{3}'", "POST /v1/things currency", "has no maxLength"},
		{"pattern: '^[A-Z]{3}$'", "pattern: '^[A-Z]{3,}$'", "POST /v1/things currency", "has no maxLength"},
		{"minLength: 1, maxLength: 512}\n      requestBody", "minLength: 1}\n      requestBody", "POST /v1/things Idempotency-Key", "has no maxLength"},
		{"colours: {type: array, maxItems: 3,", "colours: {type: array,", "POST /v1/things colours", "has no maxItems"},
		{"items: {type: string, enum: [red, green, blue]}", "items: {type: string}", "POST /v1/things colours/*", "has no maxLength"},
		{"size: {type: integer, minimum: 1, maximum: 1000}", "size: {type: integer, minimum: 1}", "POST /v1/things size", "has no minimum and maximum"},
		{"labels: {type: object, maxProperties: 20,", "labels: {type: object,", "POST /v1/things labels", "has no maxProperties"},
		{"additionalProperties: {type: string, maxLength: 500}", "additionalProperties: {type: string}", "POST /v1/things labels/*", "has no maxLength"},
	},
	"schemas are plain": {
		{"size: {type: integer, minimum: 1, maximum: 1000}", "size: {oneOf: [{type: integer}, {type: boolean}]}", "POST /v1/things size", "has alternatives"},
		{"size: {type: integer, minimum: 1, maximum: 1000}", "size: {allOf: [{$ref: '#/components/schemas/Currency'}]}", "POST /v1/things size", "has alternatives"},
		{"has_more: {type: boolean}", "has_more: {}", "GET /v1/things page/has_more", "has no type"},
		{"size: {type: integer, minimum: 1, maximum: 1000}", "size: {type: number, minimum: 1, maximum: 1000}", "POST /v1/things size", "is a number that readers round"},
	},
	"an id is a uuid, a time is a date-time called …_at": {
		{"        owner_id: {type: string, format: uuid}", "        owner_id: {type: string}", "GET /v1/things/{id} owner_id", "is an id and no string of the format uuid"},
		{"      schema: {type: string, format: uuid}", "      schema: {type: integer, minimum: 1, maximum: 9}", "GET /v1/things/{id} id", "is an id and no string of the format uuid"},
		{"        created_at: {type: string, format: date-time}", "        created_at: {type: integer}", "GET /v1/things/{id} created_at", `is called created_at and has the format ""`},
		{"        created_at: {type: string, format: date-time}", "        created: {type: string, format: date-time}", "GET /v1/things/{id} created", "times end in _at"},
	},
	"money is an integer beside its currency": {
		{"        price: {type: integer, format: int64, minimum: 1, maximum: 9007199254740991}", "        price: {type: string}", "GET /v1/things/{id} price", "is money and no integer of minor units"},
		{"        price: {type: integer, format: int64, minimum: 1, maximum: 9007199254740991}", "        price: {type: integer, format: int64, minimum: 1, maximum: 9223372036854775807}", "GET /v1/things/{id} price", "is money and no integer of minor units"},
		{"        price: {type: integer, format: int64, minimum: 1, maximum: 9007199254740991}", "        price: {type: integer, minimum: 1, maximum: 9007199254740991}", "GET /v1/things/{id} price", "is money and no integer of minor units"},
		{"        currency: {$ref: '#/components/schemas/Currency'}\n", "", "POST /v1/things price", "is money without a `currency` beside it"},
		{"        name: {type: string, nullable: true}", "        shipping_fee: {type: string}", "GET /v1/things/{id} shipping_fee", "is money and no integer of minor units"},
	},
	"a POST of money has an Idempotency-Key": {
		{"        - name: Idempotency-Key\n          in: header\n          required: true", "        - name: Idempotency-Key\n          in: header\n          required: false", "POST /v1/things", "does not require an Idempotency-Key"},
		{"        - name: Idempotency-Key", "        - name: Sent-Key", "POST /v1/things", "does not require an Idempotency-Key"},
	},
	"an update is a merge patch on a version": {
		{"application/merge-patch+json", "application/json", "PATCH /v1/things/{id}", "takes something else than application/merge-patch+json"},
		{"      name: If-Match\n      in: header\n      required: true", "      name: If-Match\n      in: header", "PATCH /v1/things/{id}", "does not require If-Match"},
	},
	"one thing has an ETag": {
		{"        - {$ref: '#/components/parameters/IfNoneMatch'}", "        - {$ref: '#/components/parameters/Limit'}", "GET /v1/things/{id}", "has no If-None-Match"},
		{"      description: The thing.\n      headers:\n        ETag: {$ref: '#/components/headers/ETag'}", "      description: The thing.", "GET /v1/things/{id}", "no ETag with its 200 and 304"},
		{"        '304':", "        '302':", "GET /v1/things/{id}", "no ETag with its 200 and 304"},
	},
	"a list has pages": {
		{"        - {$ref: '#/components/parameters/Limit'}\n", "", "GET /v1/things", "has no parameter `limit`"},
		{"maximum: 100, default: 20", "maximum: 1000, default: 20", "GET /v1/things", "has no parameter `limit` of 1 to 100"},
		{"        - {$ref: '#/components/parameters/Cursor'}\n", "", "GET /v1/things", "has no parameter `cursor`"},
		{"            Link: {$ref: '#/components/headers/Link'}", "            ETag: {$ref: '#/components/headers/ETag'}", "GET /v1/things", "has no Link to the next page"},
		{"        data: {type: array,", "        things: {type: array,", "GET /v1/things", "does not answer {data: […]"},
		{"        next_cursor: {type: string, description: Absent on the last page.}\n", "", "GET /v1/things", "does not answer {data: […]"},
	},
	"scopes are declared": {
		{"oauth2: ['things:read']", "oauth2: ['things:admire']", "GET /v1/things", "asks for the scope things:admire"},
		{"security:\n  - oauth2: []\n", "", "security", "is not oauth2 for every operation"},
		{"      flows:\n        clientCredentials:", "      flows:\n        password:", "security", "is not oauth2 for every operation"},
	},
	"what goes says when": {
		{"      x-sunset: '2026-12-31'\n", "", "DELETE /v1/things/{id}", "its x-sunset is no date"},
		{"      x-deprecated-since: '2026-01-31'\n", "", "DELETE /v1/things/{id}", "its x-deprecated-since is no date"},
		{"x-sunset: '2026-12-31'", "x-sunset: '31.12.2026'", "DELETE /v1/things/{id}", "its x-sunset is no date"},
		{"x-sunset: '2026-12-31'", "x-sunset: '2026-01-31'", "DELETE /v1/things/{id}", "goes before it is deprecated"},
		{"      deprecated: true\n", "", "DELETE /v1/things/{id}", "has x-sunset and is not `deprecated: true`"},
		{"      x-deprecated-reason: change its name to nothing.\n", "", "DELETE /v1/things/{id}", "is deprecated without an x-deprecated-reason"},
		{"x-successor: /v1/things/{id}", "x-successor: /v2/things/{id}", "DELETE /v1/things/{id}", "names the successor /v2/things/{id}, which is a path of no contract"},
	},
}

func TestTheModelContractKeepsEveryConvention(t *testing.T) {
	t.Parallel()
	for _, found := range modelContract(t).findings() {
		t.Errorf("%s (%s)", found, found.convention)
	}
}

func TestEveryConventionFallsWithAReason(t *testing.T) {
	t.Parallel()
	house := modelContract(t)
	for _, rule := range conventions {
		if len(conventionBreaks[rule.name]) == 0 {
			t.Errorf("nothing breaks %q", rule.name)
		}
		for _, b := range conventionBreaks[rule.name] {
			broken := files{model: strings.Replace(house[model], b.old, b.new, 1)}
			if broken[model] == house[model] {
				t.Errorf("%s: the break changes nothing: %q", rule.name, b.old)
			}
			found := broken.findings()
			if !slices.ContainsFunc(found, func(f finding) bool {
				return f.convention == rule.name && f.where == b.where && strings.Contains(f.what, b.why)
			}) {
				t.Errorf("%s: with %q it finds %q; want %s: %s", rule.name, b.new, found, b.where, b.why)
			}
		}
	}
	for name := range conventionBreaks {
		if !slices.ContainsFunc(conventions, func(rule convention) bool { return rule.name == name }) {
			t.Errorf("there is no convention %q to break", name)
		}
	}
}
