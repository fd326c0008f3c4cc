package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// Verifier names the caller of an access token.
type Verifier interface {
	Verify(ctx context.Context, token string) (authn.Principal, error)
}

// Limiter counts a caller's request and says whether it is one too many; headers tell the caller how things stand.
type Limiter interface {
	Take(caller string) (headers http.Header, wait time.Duration)
}

// Guard stands between the router and a module's generated handlers.
type Guard struct {
	Verifier Verifier
	Limiter  Limiter // nil: no limit
	AtOnce   int     // requests of an operation that are worked on at most; 0: 4096
	Module   string  // whose contracts these are, in metrics
}

// Mount lets routes add a module's handlers to r, behind its contracts, one for each version: by the time a handler runs, the caller is
// named and may call it, and the request is as the contract says. The generated code decodes but does not check.
func (g Guard) Mount(r chi.Router, routes func(chi.Router), specs ...[]byte) error {
	operations := map[string]*operation{}
	for _, spec := range specs {
		more, err := parse(spec)
		if err != nil {
			return err
		}
		maps.Copy(operations, more)
	}
	for _, o := range operations {
		var err error
		if o.door, err = newDoor(g.Module, o.route.Method, o.route.Path, g.AtOnce); err != nil {
			return err
		}
	}
	r.Group(func(r chi.Router) {
		r.Use(func(next http.Handler) http.Handler { return g.guard(operations, next) })
		routes(r)
	})
	return nil
}

// guard asks in this order, so that nobody learns anything before they said who they are: caller, rate, scope, then the request itself. Whether
// there is room is asked last: whoever is slow to send a request has no place while others wait for one.
func (g Guard) guard(operations map[string]*operation, next http.Handler) http.Handler {
	literal := map[string]bool{}
	for _, o := range operations {
		literal[o.route.Path] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := request.From(r.Context())
		info.Module, info.Pattern = g.Module, chi.RouteContext(r.Context()).RoutePattern()
		method := r.Method
		if method == http.MethodHead { // the answer of GET, without its body
			method = http.MethodGet
		}
		if info.Pattern != info.Path && literal[info.Path] { // the router goes on to a path with a parameter, which may have the method
			problem.Write(w, r, notAllowed(chi.RouteContext(r.Context()).Routes, info.Path))
			return
		}
		o := operations[method+" "+info.Pattern]
		if o == nil { // a generated route that is not in the contract it was generated from
			problem.Write(w, r, fmt.Errorf("no operation in the contract for %s %s", r.Method, info.Pattern))
			return
		}
		info.OAuthErrors = o.oauth
		if o.farewell != nil {
			info.Deprecated = true
			w = o.farewell.say(w, r)
		}
		caller, err := g.identify(r, o)
		info.Caller, info.ClientID = caller.Kind(), caller.ClientID
		if g.Limiter != nil && caller.Kind() != "module" {
			headers, wait := g.Limiter.Take(limitKey(caller, info))
			for name, values := range headers {
				w.Header()[name] = values
			}
			if wait > 0 {
				problem.Write(w, r, problem.RateLimited.New("rate-limited", "Too many requests; wait a little.").After(wait))
				return
			}
		}
		if err == nil {
			err = o.permit(caller, time.Now())
		}
		if err == nil {
			err = o.check(w, r)
		}
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		o.door.answer(w, r.WithContext(authn.With(r.Context(), caller)), next)
	})
}

// identify names the caller of an operation that is not public.
func (g Guard) identify(r *http.Request, o *operation) (authn.Principal, error) {
	if o.scopes == nil {
		return authn.Principal{}, nil
	}
	token := request.From(r.Context()).Bearer()
	if token == "" {
		return authn.Principal{}, problem.Unauthenticated.New("unauthenticated", "Send an access token: Authorization: Bearer ….")
	}
	return g.Verifier.Verify(r.Context(), token)
}

// limitKey is who is counted: the caller, or the network an anonymous one comes from.
func limitKey(p authn.Principal, info *request.Info) string {
	if p.Subject != "" {
		return p.Subject
	}
	return Network(info)
}

// Network is the caller's address as far as one customer of a provider usually has it: /24 in IPv4, /64 in IPv6.
func Network(info *request.Info) string {
	client, bits := info.Client.Unmap(), 64
	if client.Is4() {
		bits = 24
	}
	prefix, err := client.Prefix(bits)
	if err != nil || !prefix.IsValid() {
		return "unknown"
	}
	return prefix.String()
}

// operation is one operation of a contract, prepared for checking.
type operation struct {
	scopes     [][]string // any of these sets will do; nil: public
	oauth      bool
	stepUp     bool      // asks for a fresh proof
	farewell   *farewell // nil: it stays
	door       *door
	parameters openapi3.Parameters
	query      map[string]bool
	bodies     map[string]*openapi3.Schema // by media type; nil: reads no body
	route      *routers.Route
}

// parse prepares every operation of a contract, by method and path.
func parse(spec []byte) (map[string]*operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(spec)
	if err != nil {
		return nil, fmt.Errorf("read the contract: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.DisableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("check the contract: %w", err)
	}
	operations := map[string]*operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := &operation{
				scopes: scopes(doc, op), query: map[string]bool{},
				route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op},
			}
			o.oauth = op.Extensions["x-errors"] == "oauth"
			o.stepUp = op.Extensions["x-step-up"] == true
			if o.farewell, err = farewellOf(op); err != nil {
				return nil, fmt.Errorf("check the contract: %s %s: %w", method, path, err)
			}
			o.parameters = append(slices.Clone(item.Parameters), op.Parameters...)
			for _, p := range o.parameters {
				if p.Value.In == openapi3.ParameterInQuery {
					o.query[p.Value.Name] = true
				}
			}
			if op.RequestBody != nil {
				o.bodies = map[string]*openapi3.Schema{}
				for media, content := range op.RequestBody.Value.Content {
					o.bodies[media] = content.Schema.Value
				}
			}
			operations[method+" "+path] = o
		}
	}
	return operations, nil
}

// scopes returns the alternatives of an operation's security, nil for a public one. An empty alternative ({}) would make it public by
// the back door, so it counts as "any token".
func scopes(doc *openapi3.T, op *openapi3.Operation) [][]string {
	security := doc.Security
	if op.Security != nil {
		security = *op.Security
	}
	var alternatives [][]string
	for _, requirement := range security {
		all := []string{}
		for _, scopes := range requirement {
			all = append(all, scopes...)
		}
		alternatives = append(alternatives, all)
	}
	return alternatives
}

// proofLifetime is how long a person's proof of who they are is good for what asks for a fresh one.
const proofLifetime = 10 * time.Minute

// permit checks the caller's scopes, and that a person has proved who they are lately, where that is asked for. A module has nobody to ask.
func (o *operation) permit(caller authn.Principal, now time.Time) error {
	if o.scopes == nil {
		return nil
	}
	for _, all := range o.scopes {
		if !slices.ContainsFunc(all, func(scope string) bool { return !caller.Has(scope) }) {
			if o.stepUp && caller.Kind() != "module" && now.Sub(caller.AuthTime) > proofLifetime {
				return stepUp()
			}
			return nil
		}
	}
	e := problem.Forbidden.New("insufficient-scope", "The token lacks a scope that this operation needs.")
	e.Header = http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(o.scopes[0], " "))}}
	return e
}

// stepUp asks for a fresh proof (RFC 9470, section 3).
func stepUp() error {
	e := problem.Unauthenticated.New("step-up-required", "Prove once more who you are: log in again, or as the contract of who gives the tokens says.")
	e.Header = http.Header{"Www-Authenticate": {fmt.Sprintf(
		`Bearer error="insufficient_user_authentication", error_description="A more recent authentication is required", max_age="%d"`, int(proofLifetime.Seconds()))}}
	return e
}

// check holds the request against the contract: what it accepts, its parameters, its body.
func (o *operation) check(w http.ResponseWriter, r *http.Request) error {
	if !acceptsJSON(strings.Join(r.Header.Values("Accept"), ",")) {
		return problem.NotAcceptable.New("not-acceptable", "Answers are JSON.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem.Malformed.New("invalid-parameter", "The query cannot be read.").Because(err)
	}
	var wrong []problem.Field
	for name, values := range query {
		if !o.query[name] {
			wrong = append(wrong, problem.Field{Pointer: name, Code: "unknown", Detail: "is not known here"})
		} else if len(values) > 1 {
			wrong = append(wrong, problem.Field{Pointer: name, Code: "duplicate", Detail: "stands there twice"})
		} else if !isText(values[0]) {
			wrong = append(wrong, problem.Field{Pointer: name, Code: "invalid", Detail: "is not UTF-8, or holds the character NUL"})
		}
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: pathParams(r), QueryParams: query, Route: o.route,
		Options: &openapi3filter.Options{SkipSettingDefaults: true, SchemaValidationOptions: []openapi3.SchemaValidationOption{emails, uuids, times}},
	}
	for _, p := range o.parameters {
		err := openapi3filter.ValidateParameter(r.Context(), input, p.Value)
		empty := p.Value.In == openapi3.ParameterInHeader && p.Value.Required && strings.TrimSpace(r.Header.Get(p.Value.Name)) == ""
		if err == nil && !empty {
			continue
		}
		if missing := missingHeader(p.Value, empty, err); missing != nil {
			return missing
		}
		wrong = append(wrong, fields(p.Value.Name, err)...)
	}
	if len(wrong) > 0 {
		return problem.Malformed.New("invalid-parameter", "A parameter is not as it has to be.").With(wrong...)
	}
	if o.bodies != nil {
		return o.body(w, r)
	}
	return nil
}

// missingHeader words the two headers whose absence has a code of its own.
func missingHeader(p *openapi3.Parameter, empty bool, err error) error {
	if p.In != openapi3.ParameterInHeader {
		return nil
	}
	switch missing := errors.Is(err, openapi3filter.ErrInvalidRequired) || empty; {
	case p.Name == "Idempotency-Key" && missing:
		return problem.Malformed.New("idempotency-key-missing", "Send an Idempotency-Key, so that a retry does no harm.")
	case p.Name == "Idempotency-Key":
		return problem.Malformed.New("idempotency-key-invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
	case p.Name == "If-Match" && missing:
		return problem.PreconditionRequired.New("precondition-required", "Send the ETag that the change is based on as If-Match.")
	}
	return nil
}

func pathParams(r *http.Request) map[string]string {
	params := chi.RouteContext(r.Context()).URLParams
	values := make(map[string]string, len(params.Keys))
	for i, name := range params.Keys {
		value, err := url.PathUnescape(params.Values[i])
		if err != nil {
			value = params.Values[i]
		}
		values[name] = value
	}
	return values
}

func acceptsJSON(accept string) bool {
	if accept == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		q, bad := strconv.ParseFloat(params["q"], 64)
		if err != nil || bad == nil && q == 0 {
			continue
		}
		if media == "*/*" || media == "application/*" || media == "application/json" || media == "application/problem+json" {
			return true
		}
	}
	return false
}

// BadParameter and BadBody answer what the generated code could not decode. The contract was checked before, so little comes here: a
// number too large for its type, say.
func BadParameter(w http.ResponseWriter, r *http.Request, err error) {
	problem.Write(w, r, problem.Malformed.New("invalid-parameter", "A parameter cannot be read.").Because(err))
}

// BadBody is BadParameter for bodies.
func BadBody(w http.ResponseWriter, r *http.Request, err error) {
	e := problem.Malformed.New("malformed-json", "The body cannot be read.")
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		e = problem.Invalid.New("validation-failed", "Some of the input is not allowed.").With(
			problem.Field{Pointer: "/" + strings.ReplaceAll(wrongType.Field, ".", "/"), Code: "type", Detail: "has another type"})
	}
	problem.Write(w, r, e.Because(err))
}

// The validator checks few formats by itself. Any version of UUID will do; an address is a plain one, without a name beside it,
// of a domain that has a name, and no longer before the @ than servers take (RFC 5321, section 4.5.3.1.1).
var (
	uuids = openapi3.WithStringFormatValidator("uuid", openapi3.NewRegexpFormatValidator(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`))
	times = openapi3.WithStringFormatValidator("date-time", openapi3.NewCallbackValidator(func(s string) error {
		_, err := time.Parse(time.RFC3339Nano, s)
		return err
	}))
	emails = openapi3.WithStringFormatValidator("email", openapi3.NewCallbackValidator(func(s string) error {
		address, err := mail.ParseAddress(s)
		if err != nil || address.Address != s || strings.ContainsAny(s, "\r\n\x00 []") || strings.LastIndexByte(s, '@') > 64 {
			return errors.New("not an address")
		}
		return nil
	}))
)
