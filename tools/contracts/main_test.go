package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// program finds the oasdiff that `make breaking` builds. Locally nothing is fetched for a test; on CI it is.
func program(t *testing.T) string {
	t.Helper()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^OASDIFF_VERSION := (\S+)$`).FindSubmatch(makefile)
	if version == nil {
		t.Fatal("the Makefile does not say OASDIFF_VERSION")
	}
	name := ".local/bin/oasdiff-" + string(version[1])
	if _, err := os.Stat("../../" + name); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("there is no oasdiff here: make breaking builds it, and then this test runs")
		}
		if out, err := exec.Command("make", "-C", "../..", name).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return "../../" + name
}

// world is a checkout with one released contract, which nothing has changed yet.
type world struct {
	t    *testing.T
	root string
}

const (
	today    = "api/things/v1/openapi.yaml"
	released = "api/things/released/v1.yaml"
)

func newWorld(t *testing.T) world {
	t.Helper()
	t.Setenv("OASDIFF", program(t))
	text, err := os.ReadFile("../../services/testdata/things.yaml") // the model that the tests of the conventions break
	if err != nil {
		t.Fatal(err)
	}
	w := world{t, t.TempDir()}
	w.write(today, string(text))
	w.write(released, string(text))
	return w
}

func (w world) write(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.root, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// edit replaces the first old in a file, which has to be there.
func (w world) edit(name, old, new string) {
	w.t.Helper()
	before := w.read(name)
	after := strings.Replace(before, old, new, 1)
	if after == before {
		w.t.Fatalf("%s has no %q", name, old)
	}
	w.write(name, after)
}

func (w world) remove(name string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.root, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) run(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(w.root, args, &out)
	return out.String(), err
}

func day(days int) string {
	return "x-sunset: '" + time.Now().AddDate(0, 0, days).Format(time.DateOnly) + "'"
}

const (
	sunset = "x-sunset: '2026-12-31'"
	patch  = "    patch:\n      operationId: updateThing\n"
)

// deletion is the deprecated operation of the model, whole.
var deletion = regexp.MustCompile(`(?s)    delete:\n.*?default: [^\n]+\n`)

func TestWhatBreaksCallersIsCaught(t *testing.T) {
	for _, c := range []struct {
		name, old, new, want string
	}{
		{"a field of an answer goes", "      required: [has_more]\n      properties:\n        has_more: {type: boolean}\n", "      properties:\n", "`GET /v1/things`: removed the required property `page/has_more` from the response"},
		{"a field of an answer may be missing", "required: [id, owner_id, price", "required: [id, price", "`GET /v1/things/{id}`: the response property `owner_id` became optional"},
		{"a field of an answer goes that need not be there", "        name: {type: string, nullable: true}\n", "", "removed the optional property `name` from the response with the `200` status"},
		{"a header of an answer goes", "            Link: {$ref: '#/components/headers/Link'}\n", "            Age: {$ref: '#/components/headers/Link'}\n", "the optional response header `link` removed"},
		{"a list may be shorter only", "colours: {type: array, maxItems: 3,", "colours: {type: array, maxItems: 2,", "the `colours` request property's maxItems was decreased to `2`"},
		{"an answer may be null", "        created_at: {type: string, format: date-time}", "        created_at: {type: string, nullable: true, format: date-time}", "the response property `created_at` became nullable"},
		{"a parameter is required", "      name: cursor\n      in: query\n", "      name: cursor\n      in: query\n      required: true\n", "the `query` request parameter `cursor` became required"},
		{"a new parameter is required", "        - {$ref: '#/components/parameters/Limit'}\n", "        - {$ref: '#/components/parameters/Limit'}\n        - {name: shop, in: query, required: true, schema: {type: string}}\n", "added the new required `query` request parameter `shop`"},
		{"a parameter goes", "        - {$ref: '#/components/parameters/Cursor'}\n", "", "deleted the `query` request parameter `cursor`"},
		{"an enum of a request is narrower", "enum: [red, green, blue]", "enum: [red, green]", "removed the enum value `blue` of the request property `colours/items/`"},
		{"a text may be shorter only", "name: {type: string, minLength: 1, maxLength: 200}", "name: {type: string, minLength: 1, maxLength: 100}", "the `name` request property's maxLength was decreased to `100`"},
		{"a new field is required", "required: [price, currency]\n      properties:\n", "required: [price, currency, shop]\n      properties:\n        shop: {type: string, maxLength: 9}\n", "added the new required request property `shop`"},
		{"a field of a request is required", "required: [price, currency]", "required: [price, currency, name]", "the request property `name` became required"},
		{"a field of a request goes", "        size: {type: integer, minimum: 1, maximum: 1000}\n", "", "removed the request property `size`"},
		{"an operation goes unsaid", patch, "    x-patch:\n      operationId: updateThing\n", "`PATCH /v1/things/{id}`: api removed without deprecation"},
		{"a path has another name", "  /v1/things:\n", "  /v1/gadgets:\n", "`GET /v1/things`: api path removed without deprecation"},
		{"a scope more is asked for", "oauth2: ['things:read']", "oauth2: ['things:read', 'things:write']", "the security scope `things:write` was added"},
		{"an answer has another media type", "            application/json:\n              schema: {$ref: '#/components/schemas/ThingPage'}", "            application/hal+json:\n              schema: {$ref: '#/components/schemas/ThingPage'}", "`GET /v1/things`: media type `application/json` was changed"},
		{"a request has another media type", "application/merge-patch+json", "application/json", "`PATCH /v1/things/{id}`: the media type `application/merge-patch+json` is no longer accepted"},
		{"a status goes that tells something", "        '304':\n          description: What one has is current.\n          headers:\n            ETag: {$ref: '#/components/headers/ETag'}\n", "", "`GET /v1/things/{id}`: removed the non-success response with the status `304`"},
		{"a number of a request is smaller", "price: {type: integer, format: int64, minimum: 1, maximum: 9007199254740991, ", "price: {type: integer, format: int32, minimum: 1, maximum: 9007199254740991, ", "the `price` request property `format` changed from `int64` to `int32`"},
		{"a number of an answer is smaller", "price: {type: integer, format: int64, minimum: 1, maximum: 9007199254740991}", "price: {type: integer, format: int32, minimum: 1, maximum: 9007199254740991}", "the `price` response's property `format` was narrowed from `int64` to `int32`"},
		{"a parameter is of another type of the clients", "schema: {type: string, format: uuid}", "schema: {type: string}", "`path` request parameter `id`"},
		{"a field of an answer is of another type of the clients", "owner_id: {type: string, format: uuid}", "owner_id: {type: string}", "`owner_id`"},
		{"a header of an answer is of another type", "    ETag:\n      description: The version of what is answered.\n      schema: {type: string}", "    ETag:\n      description: The version of what is answered.\n      schema: {type: integer}", "the `etag` response header's `type` changed from `string` to `integer`"},
		{"a default is another one", "default: 20", "default: 10", "the `query` request parameter `limit`"},
		{"a default goes", ", default: 20", "", "the `query` request parameter `limit`"},
		{"names of one's own are refused", "additionalProperties: {type: string, maxLength: 500}", "additionalProperties: false", "`POST /v1/things`: the request (application/json)/labels has no names of the caller's own any more"},
		{"a method of the clients has another name", "operationId: createThing", "operationId: sellThing", "`createThing` removed and replaced with `sellThing`"},
		{"an operation is to go without a date", patch, patch + "      deprecated: true\n", "`PATCH /v1/things/{id}`: sunset date is missing for deprecated API"},
		{"an operation is to go tomorrow", patch, patch + "      deprecated: true\n      " + day(1) + "\n", "is too small, must be at least `90` days from now"},
		{"an operation is to go earlier than said", sunset, day(10), "api sunset date changed to an earlier date"},
		{"the date of its going is taken back", "      " + sunset + "\n", "", "api sunset date deleted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.edit(released, sunset, day(400))
			w.edit(today, sunset, day(400))
			if out, err := w.run("breaking"); err != nil {
				t.Fatalf("without the break: %v\n%s", err, out)
			}
			old := strings.Replace(c.old, sunset, day(400), 1)
			w.edit(today, old, c.new)
			out, err := w.run("breaking")
			if err == nil || !strings.Contains(err.Error(), "docs/change-an-api.md") || !strings.Contains(out, "things v1 breaks its callers: ") || !strings.Contains(out, c.want) {
				t.Errorf("%v\n%s\nwant %s", err, out, c.want)
			}
		})
	}
}

func TestATypeOfTheClientsThatHasAnotherNameIsCaught(t *testing.T) {
	w := newWorld(t)
	w.write(today, strings.ReplaceAll(w.read(today), "ThingPatch", "ThingChange"))
	if out, err := w.run("breaking"); err == nil || !strings.Contains(out, "`components`: the schema `ThingPatch` is gone, a type of the clients") {
		t.Errorf("%v\n%s", err, out)
	}
	// With the only operation that used it, it goes.
	w.edit(released, patch, patch+"      deprecated: true\n      "+day(-1)+"\n")
	w.write(today, regexp.MustCompile(`(?s)    patch:\n.*?default: [^\n]+\n`).ReplaceAllString(w.read(today), ""))
	if out, err := w.run("breaking"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWhatBreaksNobodyPasses(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"a field more in an answer", "        name: {type: string, nullable: true}\n", "        name: {type: string, nullable: true}\n        shop: {type: string}\n"},
		{"a field more that may be sent", "        size: {type: integer,", "        shop: {type: string, maxLength: 9}\n        size: {type: integer,"},
		{"a value more that may be sent", "enum: [red, green, blue]", "enum: [red, green, blue, pink]"},
		{"a parameter more that may be sent", "        - {$ref: '#/components/parameters/Limit'}\n", "        - {$ref: '#/components/parameters/Limit'}\n        - {name: shop, in: query, schema: {type: string}}\n"},
		{"an operation more", patch, "    put:\n      operationId: putThing\n      responses: {'204': {description: Put.}}\n" + patch},
		{"a default where there was none", "name: {type: string, minLength: 1, maxLength: 200}", "name: {type: string, minLength: 1, maxLength: 200, default: x}"},
		{"a media type more for a request", "          application/merge-patch+json:\n", "          application/json:\n            schema: {$ref: '#/components/schemas/ThingPatch'}\n          application/merge-patch+json:\n"},
		{"a status more", "        '304':\n", "        '410': {$ref: '#/components/responses/Problem'}\n        '304':\n"},
		{"a schema more", "    Currency: {", "    Shop: {type: string}\n    Currency: {"},
		{"other words", "summary: Sell a thing", "summary: Offer a thing"},
		{"an operation is to go in half a year", patch, patch + "      deprecated: true\n      " + day(180) + "\n"},
		{"an operation is to go later than said", sunset, day(1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.edit(today, c.old, c.new)
			if out, err := w.run("breaking"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestAnOperationGoesWhenItsDayHasCome(t *testing.T) {
	w := newWorld(t)
	w.edit(released, sunset, day(1))
	w.write(today, deletion.ReplaceAllString(w.read(today), ""))
	if out, err := w.run("breaking"); err == nil || !strings.Contains(out, "`DELETE /v1/things/{id}`: api removed before the sunset date") {
		t.Errorf("a day before: %v\n%s", err, out)
	}
	w.edit(released, day(1), day(-1))
	if out, err := w.run("breaking"); err != nil {
		t.Errorf("a day after: %v\n%s", err, out)
	}
	if out, err := w.run("changelog"); err != nil || !strings.Contains(out, "- `DELETE /v1/things/{id}`: removed\n") {
		t.Errorf("the changelog: %v\n%s", err, out)
	}
}

func TestAVersionGoesWhenAllOfItMay(t *testing.T) {
	w := newWorld(t)
	w.write("api/things/v2/openapi.yaml", strings.ReplaceAll(w.read(today), "/v1/", "/v2/"))
	w.remove("api/things/v1")
	out, err := w.run("breaking")
	if err == nil || !strings.Contains(out, "`POST /v1/things`: api path removed without deprecation") || !strings.Contains(out, "things v2 is new") {
		t.Errorf("%v\n%s", err, out)
	}
	w.write(released, deletion.FindString(w.read(released)))
	w.write(released, "openapi: 3.0.3\ninfo: {title: things, version: 1.0.0}\npaths:\n  /v1/things/{id}:\n"+
		strings.ReplaceAll(strings.ReplaceAll(w.read(released), sunset, day(0)), "{$ref: '#/components/responses/Problem'}", "{description: No.}"))
	if out, err := w.run("snapshot", "v2.0.0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(w.root, released)); err == nil {
		t.Error("the version that went is kept as released")
	}
	if w.read("api/things/released/v2.yaml") != w.read("api/things/v2/openapi.yaml") {
		t.Error("the new version is not kept as released")
	}
	if out, err := w.run("breaking"); err != nil {
		t.Errorf("the version that went is missed: %v\n%s", err, out)
	}
}

func TestAReleasedContractThatIsTakenAwayIsMissed(t *testing.T) {
	w := newWorld(t) // without copies and changelogs, as a fork begins
	w.remove(released)
	w.write("api/others/v1/openapi.yaml", nothing)
	if out, err := w.run("breaking"); err != nil || !strings.Contains(out, "things v1 is new") {
		t.Fatalf("before the first release: %v\n%s", err, out)
	}
	if out, err := w.run("snapshot", "v1.0.0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contract, changelog := w.read(released), "api/things/CHANGELOG.md"
	noted, dropped := w.read(changelog), deletion.ReplaceAllString(contract, "")
	for _, c := range []struct {
		name   string
		change func()
		want   string // "": it passes
	}{
		{"nothing", func() {}, ""},
		{"a version more", func() { w.write("api/things/v2/openapi.yaml", strings.ReplaceAll(contract, "/v1/", "/v2/")) }, ""},
		{"its copy goes", func() { w.remove(released) }, "with GET /v1/things, POST /v1/things, DELETE /v1/things/{id}, "},
		{"its version goes with it", func() { w.remove(released); w.remove("api/things/v1") }, "with GET /v1/things, "},
		{"an operation goes from both", func() { w.write(today, dropped); w.write(released, dropped) }, "with DELETE /v1/things/{id}, which"},
		{"and that is said", func() {
			w.write(today, dropped)
			w.write(released, dropped)
			w.edit(changelog, "## v1.0.0\n", "- `DELETE /v1/things/{id}`: removed\n\n## v1.0.0\n")
		}, ""},
		{"a parameter has another name", func() {
			w.write(today, strings.ReplaceAll(contract, "{id}", "{thing}"))
			w.write(released, w.read(today))
		}, ""},
		{"the module goes", func() { w.remove("api/things") }, ""},
	} {
		w.remove("api/things")
		w.write(today, contract)
		w.write(released, contract)
		w.write(changelog, noted)
		c.change()
		for _, args := range [][]string{{"breaking"}, {"snapshot", "v2.0.0"}} {
			out, err := w.run(args...)
			if c.want == "" && err != nil {
				t.Errorf("%s: %v\n%s", c.name, err, out)
			} else if c.want != "" && (err == nil || !strings.Contains(err.Error(), "released contracts are missing") || !strings.Contains(out, c.want)) {
				t.Errorf("%s: %q: %v\n%s\nwant %s", c.name, args, err, out, c.want)
			}
		}
	}
}

func TestASnapshotNotesTheReleaseOnce(t *testing.T) {
	w := newWorld(t)
	w.remove(released)
	if out, err := w.run("snapshot", "v1.0.0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.edit(today, "        size: {type: integer,", "        shop: {type: string, maxLength: 9}\n        size: {type: integer,")
	if out, err := w.run("changelog"); err != nil || out != "### things\n\n- `POST /v1/things`: added the new optional request property `shop`\n\n" {
		t.Errorf("%v\n%q", err, out)
	}
	if _, err := w.run("snapshot", "v1.0.0"); err == nil || !strings.Contains(err.Error(), "a section v1.0.0 already") {
		t.Errorf("the same release twice: %v", err)
	}
	if w.read(released) == w.read(today) {
		t.Error("a refused snapshot is kept")
	}
	for range 2 { // the second time there is nothing to note
		if out, err := w.run("snapshot", "v1.1.0"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	want := "# Changes of the API: things\n\nWhat callers see change, release by release. `make snapshot` writes it from the contracts.\n\n" +
		"## v1.1.0\n\n- `POST /v1/things`: added the new optional request property `shop`\n\n" +
		"## v1.0.0\n\n- `GET /v1/things`: endpoint added\n- `POST /v1/things`: endpoint added\n- `DELETE /v1/things/{id}`: endpoint added\n" +
		"- `GET /v1/things/{id}`: endpoint added\n- `PATCH /v1/things/{id}`: endpoint added\n"
	if got := w.read("api/things/CHANGELOG.md"); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if w.read(released) != w.read(today) {
		t.Error("the contract is not kept as released")
	}
	w.edit(today, patch, "    x-patch:\n      operationId: updateThing\n")
	if _, err := w.run("snapshot", "v1.2.0"); err == nil {
		t.Error("a release that breaks callers is noted")
	}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	w := newWorld(t)
	for want, args := range map[string][]string{
		`there is no command ["brake"]`:           {"brake"},
		`there is no command []`:                  nil,
		`"1.0" is no version such as v1.2.3`:      {"snapshot", "1.0"},
		`there is no command ["snapshot"]; there`: {"snapshot"},
	} {
		if _, err := w.run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
	w.write(today, "openapi: [")
	if _, err := w.run("breaking"); err == nil || !strings.Contains(err.Error(), "oasdiff on ") {
		t.Errorf("a contract that cannot be read: %v", err)
	}
	w.remove("api")
	if _, err := w.run("breaking"); err == nil || !strings.Contains(err.Error(), "there is no contract in ") {
		t.Errorf("no contracts: %v", err)
	}
	t.Setenv("OASDIFF", "")
	if _, err := w.run("breaking"); err == nil || !strings.Contains(err.Error(), "use make breaking") {
		t.Errorf("no oasdiff: %v", err)
	}
}
