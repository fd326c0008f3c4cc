package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// wrongs is a contract that the server below breaks in every way.
const wrongs = `openapi: 3.0.3
info: {title: wrongs, version: 1.0.0}
security: [{oauth2: []}]
paths:
  /v1/crashes:
    get: {operationId: crash, responses: {'200': {description: Never.}}}
  /v1/texts:
    get: {operationId: text, responses: {'200': {description: Read., content: {application/json: {schema: {type: string}}}}}}
  /v1/refusals:
    post:
      operationId: refuse
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/NewThing'}}}}
      responses: {'204': {description: Never.}, '422': {description: Always.}}
  /v1/things:
    post:
      operationId: makeThing
      parameters: [{name: Idempotency-Key, in: header, required: true, schema: {type: string, minLength: 1}}]
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/NewThing'}}}}
      responses: {'201': {description: Made., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}}
  /v1/things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string, format: uuid}}]
    get:
      operationId: readThing
      responses:
        '200':
          description: Read.
          headers: {ETag: {required: true, schema: {type: string}}}
          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}
        '404': {description: Gone.}
    delete: {operationId: deleteThing, responses: {'204': {description: Gone.}, '404': {description: Gone.}}}
  /v1/ghosts:
    post:
      operationId: makeGhost
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/NewThing'}}}}
      responses: {'201': {description: Made., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}}
  /v1/ghosts/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string, format: uuid}}]
    get:
      operationId: readGhost
      responses: {'200': {description: Read., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}, '404': {description: Gone.}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /token, scopes: {}}}}
  schemas:
    NewThing: {type: object, additionalProperties: false, required: [name], properties: {name: {type: string, minLength: 1, maxLength: 10}}}
    Thing: {type: object, additionalProperties: false, required: [id, name], properties: {id: {type: string, format: uuid}, name: {type: string}}}
`

// wrong is that server.
func wrong() http.Handler {
	var mu sync.Mutex
	made := map[string]bool{}
	answer := func(w http.ResponseWriter, status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/crashes", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/v1/texts", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("text")) }) // for anybody, as text/plain
	mux.HandleFunc("/v1/refusals", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 422, map[string]any{"code": "validation-failed", "errors": []any{map[string]any{"pointer": "/name", "code": "maxLength"}}})
	})
	mux.HandleFunc("/v1/things", func(w http.ResponseWriter, _ *http.Request) { // whatever is sent, and with a field that the contract has not
		mu.Lock()
		defer mu.Unlock()
		id := uuid.NewString()
		made[id] = true
		answer(w, 201, map[string]any{"id": id, "name": "a", "surprise": 1})
	})
	mux.HandleFunc("/v1/things/{id}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch token := r.Header.Get("Authorization"); {
		case token != "Bearer alice" && token != "Bearer bob": // either sees what is the other's
			w.WriteHeader(401)
		case !made[r.PathValue("id")]:
			w.WriteHeader(404)
		case r.Method == http.MethodDelete: // and it stays
			w.WriteHeader(204)
		default:
			answer(w, 200, map[string]any{"id": r.PathValue("id"), "name": "a"})
		}
	})
	mux.HandleFunc("/v1/ghosts", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 201, map[string]any{"id": uuid.NewString(), "name": "a"})
	})
	mux.HandleFunc("/v1/ghosts/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	return mux
}

// TestSchemathesisFindsWhatIsWrong asks a server that breaks every promise, with the settings that find nothing in ours.
func TestSchemathesisFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	o := newOutsider(t)
	server := httptest.NewServer(wrong())
	t.Cleanup(server.Close)
	for _, name := range []string{"alice", "bob"} {
		o.callers = append(o.callers, caller{name, nil, func() (string, error) { return name, nil }})
	}
	contract := filepath.Join(t.TempDir(), "wrongs", "v1", "openapi.yaml")
	if err := os.MkdirAll(filepath.Dir(contract), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(contract, []byte(wrongs), 0o600); err != nil {
		t.Fatal(err)
	}
	r := o.ask(t, contract, server.URL, "alice", "--max-examples", "20")
	var found []string
	for _, f := range r.Failures {
		found = append(found, f.Type)
	}
	for _, want := range []string{
		"ServerError",                                                                      // no 5xx
		"UndefinedStatusCode", "UndefinedContentType", "MissingHeaders", "JsonSchemaError", // no answer outside of the contract
		"AcceptedNegativeData", "MissingHeaderNotRejected", "UnsupportedMethodResponse", // no request that it forbids
		"IgnoredAuth", "ObjectLevelAuthorizationViolation",
		"EnsureResourceAvailability", "UseAfterFree",
		"CustomFailure", // refused_by_a_rule in hooks.py
	} {
		if !slices.Contains(found, want) {
			t.Errorf("%s is not found, only %v", want, found)
		}
	}
	t.Logf("a server that breaks every promise: %s", r)
	if t.Failed() || r.Exit == 0 {
		t.Errorf("schemathesis would let wrong servers pass (exit %d):\n%s", r.Exit, r.out)
	}
}
