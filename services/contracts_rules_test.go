package main

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// The conventions about a document and its operations.

func identity(c contract, say say) {
	if c.doc.OpenAPI != "3.0.3" {
		say("openapi", "is %s: tools read 3.0.3 best", c.doc.OpenAPI)
	}
	if c.doc.Info.Title != c.module {
		say("info.title", "is %q: it is the name of the module, %s", c.doc.Info.Title, c.module)
	}
	if major := strings.TrimPrefix(c.version, "v") + "."; !strings.HasPrefix(c.doc.Info.Version, major) {
		say("info.version", "is %s in the folder %s: it begins with %s", c.doc.Info.Version, c.version, major)
	}
	if len(c.doc.Servers) != 1 || c.doc.Servers[0].URL != "/" {
		say("servers", "is not / alone: a contract does not know where it is served")
	}
	for i, line := range strings.Split(c.text, "\n") {
		if strings.TrimRight(line, " \t\r") != line {
			say("the file", "line %d ends in a blank", i+1)
		}
	}
	for p := range c.doc.Paths.Map() {
		if !strings.HasPrefix(p, "/"+c.version+"/") {
			say(p, "does not begin with /%s/, the version of its contract", c.version)
		}
	}
}

var kebab = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// isPlural tells a noun of many things: it ends in s, or is one of the few that do not.
func isPlural(noun string) bool {
	last := noun[strings.LastIndex(noun, "-")+1:]
	return kebab.MatchString(noun) && (strings.HasSuffix(last, "s") ||
		slices.Contains([]string{"people", "children", "men", "women", "feet", "teeth", "mice", "geese", "criteria", "data", "media"}, last))
}

func nouns(c contract, say say) {
	for p := range c.doc.Paths.Map() {
		for _, segment := range strings.Split(p, "/")[2:] {
			if segment == c.module || strings.HasPrefix(segment, "{") {
				continue
			}
			if !isPlural(segment) {
				say(p, "%q is no plural noun in kebab-case: a path names things, the method says what happens to them", segment)
			}
		}
	}
}

var (
	snake   = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	capital = regexp.MustCompile(`^[A-Z][A-Za-z]*(-[A-Z][A-Za-z]*)*$`)
	camel   = regexp.MustCompile(`^[a-z]+([A-Z][a-z]+)*$`)
)

func names(c contract, say say) {
	for _, o := range c.operations {
		for _, f := range append(o.body(), o.outgoing()...) {
			if f.parent != nil && !snake.MatchString(f.name()) {
				say(o.String()+" "+f.place, "is not snake_case")
			}
		}
		for _, p := range o.parameters {
			style, name := snake, p.Value.Name
			switch p.Value.In {
			case openapi3.ParameterInHeader:
				style = capital
			case openapi3.ParameterInCookie: // browsers hold cookies with these prefixes to a promise
				name = strings.TrimPrefix(strings.TrimPrefix(name, "__Secure-"), "__Host-")
			}
			if !style.MatchString(name) {
				say(o.String()+" "+p.Value.Name, "is not as a name in the %s is: snake_case, or Capitalized-Words for headers", p.Value.In)
			}
		}
		for status, r := range o.success() {
			for header := range r.Headers {
				if !capital.MatchString(header) {
					say(o.String()+" "+status+" "+header, "is not Capitalized-Words")
				}
			}
		}
	}
}

func spoken(c contract, say say) {
	used := map[string]bool{}
	for _, o := range c.operations {
		if !camel.MatchString(o.OperationID) {
			say(o.String(), "the operationId %q is not camelCase: it becomes the name of a method", o.OperationID)
		}
		if o.Summary == "" || strings.HasSuffix(o.Summary, ".") {
			say(o.String(), "the summary %q is not a few words without a full stop", o.Summary)
		}
		if len(o.Tags) != 1 || c.doc.Tags.Get(o.Tags[0]) == nil {
			say(o.String(), "has the tags %q: it has one, which the contract declares", o.Tags)
		}
		for _, tag := range o.Tags {
			used[tag] = true
		}
	}
	for _, tag := range c.doc.Tags {
		if !used[tag.Name] || tag.Description == "" {
			say("tag "+tag.Name, "has no operation or no description")
		}
	}
}

func endings(c contract, say say) {
	for _, o := range c.operations {
		const problem = "#/components/schemas/Problem"
		media, want, oauth := "application/problem+json", problem, o.Extensions["x-errors"] == "oauth"
		if oauth {
			media, want = "application/json", "#/components/schemas/OAuthError"
		}
		if len(o.success()) == 0 {
			say(o.String(), "has no success: say which 2xx it answers")
		}
		if d := o.Responses.Default(); d == nil || d.Value.Content[media] == nil || d.Value.Content[media].Schema.Ref != want {
			say(o.String(), "has no `default` answer of %s as %s", path.Base(want), media)
		}
		for status, r := range o.Responses.Map() {
			other := r.Value.Content["application/problem+json"]
			if oauth && other != nil && other.Schema.Ref == problem { // one that comes before OAuth has a say
				continue
			}
			if status[0] == '4' || status[0] == '5' {
				say(o.String(), "spells out %s: every failure is the default, and its code says which", status)
			}
		}
	}
}

func problems(c contract, say say) {
	model, err := openapi3.NewLoader().LoadFromFile("testdata/things.yaml")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"Problem", "FieldError"} {
		want, _ := json.Marshal(model.Components.Schemas[name])
		if got, _ := json.Marshal(c.doc.Components.Schemas[name]); string(got) != string(want) {
			say("#/components/schemas/"+name, "is not word for word as in services/testdata/things.yaml: clients read one kind of error")
		}
	}
}

func idempotency(c contract, say say) {
	for _, o := range c.operations {
		if o.method != "POST" || !slices.ContainsFunc(append(o.body(), o.outgoing()...), field.isMoney) {
			continue
		}
		if p := o.parameter("header", "Idempotency-Key"); p == nil || !p.Required {
			say(o.String(), "moves money and does not require an Idempotency-Key: a retry would pay twice")
		}
	}
}

func updates(c contract, say say) {
	for _, o := range c.operations {
		if o.method != "PATCH" {
			continue
		}
		if o.RequestBody == nil || len(o.RequestBody.Value.Content) != 1 || o.RequestBody.Value.Content["application/merge-patch+json"] == nil {
			say(o.String(), "takes something else than application/merge-patch+json (RFC 7396)")
		}
		if p := o.parameter("header", "If-Match"); p == nil || !p.Required {
			say(o.String(), "does not require If-Match: two who change the same would not notice each other")
		}
	}
}

// isList tells a GET of many from a GET of one: its path ends in a plural.
func (o described) isList() bool {
	last := path.Base(o.path)
	return o.method == "GET" && isPlural(last)
}

func etags(c contract, say say) {
	for _, o := range c.operations {
		if o.method != "GET" || o.isList() {
			continue
		}
		ok, same := o.Responses.Value("200"), o.Responses.Value("304")
		if ok == nil || ok.Value.Headers["ETag"] == nil || same == nil || same.Value.Headers["ETag"] == nil || o.parameter("header", "If-None-Match") == nil {
			say(o.String(), "has no If-None-Match, or no ETag with its 200 and 304: a reader asks whether what it has is current")
		}
	}
}

func pages(c contract, say say) {
	for _, o := range c.operations {
		if !o.isList() {
			continue
		}
		limit, cursor := o.parameter("query", "limit"), o.parameter("query", "cursor")
		if limit == nil || limit.Required || limit.Schema.Value.Max == nil || *limit.Schema.Value.Max != 100 || limit.Schema.Value.Default == nil {
			say(o.String(), "has no parameter `limit` of 1 to 100 with a default: nobody may ask for all")
		}
		if cursor == nil || cursor.Required {
			say(o.String(), "has no parameter `cursor`: pages are found by what came last, never by an offset")
		}
		ok := o.Responses.Value("200")
		if ok == nil || ok.Value.Headers["Link"] == nil {
			say(o.String(), "has no Link to the next page")
		}
		shape := map[string]bool{}
		for _, f := range o.outgoing() {
			shape[f.place] = true
		}
		if !shape["data/*"] || !shape["page/has_more"] || !shape["page/next_cursor"] {
			say(o.String(), "does not answer {data: […], page: {has_more, next_cursor}}")
		}
	}
}

func scopes(c contract, say say) {
	scheme := c.doc.Components.SecuritySchemes["oauth2"]
	if len(c.doc.Security) != 1 || scheme == nil || scheme.Value.Flows == nil || scheme.Value.Flows.ClientCredentials == nil {
		say("security", "is not oauth2 for every operation that does not say otherwise")
		return
	}
	for _, o := range c.operations {
		if o.Security == nil {
			continue
		}
		for _, requirement := range *o.Security {
			for _, scope := range requirement["oauth2"] {
				if scheme.Value.Flows.ClientCredentials.Scopes[scope] == "" {
					say(o.String(), "asks for the scope %s, which #/components/securitySchemes does not explain", scope)
				}
			}
		}
	}
}

// deprecations have what pkg/httpserver tells callers, the generated client says, and oasdiff asks before an operation may go.
func deprecations(c contract, say say) {
	for _, o := range c.operations {
		dates := map[string]time.Time{}
		for _, name := range []string{"x-deprecated-since", "x-sunset"} {
			text, there := o.Extensions[name].(string)
			date, err := time.Parse(time.DateOnly, text)
			switch {
			case there && !o.Deprecated:
				say(o.String(), "has %s and is not `deprecated: true`", name)
			case o.Deprecated && err != nil:
				say(o.String(), "is deprecated and its %s is no date such as '2026-12-31'", name)
			}
			dates[name] = date
		}
		if o.Deprecated && !dates["x-sunset"].After(dates["x-deprecated-since"]) {
			say(o.String(), "goes before it is deprecated: x-sunset is later than x-deprecated-since")
		}
		if reason, _ := o.Extensions["x-deprecated-reason"].(string); o.Deprecated && reason == "" {
			say(o.String(), "is deprecated without an x-deprecated-reason, which Go callers read in their editor: say what to use instead")
		}
		successor, there := o.Extensions["x-successor"].(string)
		if there && !slices.ContainsFunc(c.all.contracts(new([]string)), func(o operation) bool { return o.path == successor }) {
			say(o.String(), "names the successor %s, which is a path of no contract", successor)
		}
	}
}
