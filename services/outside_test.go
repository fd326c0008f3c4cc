package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/groundwork/pkg/authn"
)

// outsider is schemathesis. It knows nothing of this program but its contracts, and asks it what they allow and what they forbid.
// `make contract-test` installs it; its settings are in tools/schemathesis.
type outsider struct {
	program, seed, examples string
	callers                 []caller          // who asks, from the fewest rights to the most
	files                   map[string]string // what its settings name
}

// caller is somebody who asks, each time with the token that token gets.
type caller struct {
	name   string
	scopes []string
	token  func() (string, error)
}

func newOutsider(t *testing.T) *outsider {
	t.Helper()
	if os.Getenv("SCHEMATHESIS") == "" {
		t.Skip("`make contract-test` runs this")
	}
	return &outsider{
		program: os.Getenv("SCHEMATHESIS"), seed: cmp.Or(os.Getenv("SCHEMATHESIS_SEED"), "1"),
		examples: cmp.Or(os.Getenv("SCHEMATHESIS_EXAMPLES"), "100"), files: map[string]string{},
	}
}

// TestContractsFromOutside asks the program what every contract promises.
func TestContractsFromOutside(t *testing.T) {
	t.Parallel()
	o := newOutsider(t)
	issuer, here, settings := elsewhere(t)
	p := start(t, with(settings(), "LOG_LEVEL", "error"), "--modules="+strings.Join(here, ","))
	s := &teller{t: t, url: p.url}
	as := func(name string, p authn.Principal) caller {
		return caller{name, p.Scopes, func() (string, error) { return issuer.Token(p), nil }}
	}
	alice, bob, operator := s.somebody(issuer), s.somebody(issuer), s.somebody(issuer, operators...)
	o.callers = []caller{as("alice", alice), as("bob", bob), as("operator", operator), as("module", module)}
	// only with transactions:
	o.files["payers.txt"], o.files["payees.txt"] = s.accounts(s.as(issuer.Token(operator)), s.as(issuer.Token(alice)))
	// end transactions
	for _, m := range here {
		o.asksAbout(t, m, p.url)
	}
}

// asksAbout asks what every contract of a module promises. Each operation is asked by everybody who may call it and whom the contract knows
// by a scope that those before do not have; a public one by the first.
func (o *outsider) asksAbout(t *testing.T, module, address string) {
	t.Helper()
	var mu sync.Mutex
	through := map[string]bool{} // the operations, and whether a request got through
	t.Cleanup(func() {           // when all are done
		for name, once := range through {
			if !once { // which chance decides, so it is no failure
				t.Logf("every request to %s was refused: values that exist would get further, see tools/schemathesis", name)
			}
		}
	})
	house, asked := theHouse(t), map[string]bool{}
	for i, c := range o.callers {
		names := map[string][]string{} // of operations, by contract
		for _, op := range house.contracts(new([]string)) {
			if op.module() == module && op.lets(c.scopes) && (i == 0 || !op.public && o.knows(house["api/"+op.contract+"/openapi.yaml"], i)) {
				names[op.contract] = append(names[op.contract], "--include-name", op.String())
				asked[op.String()] = true
			}
		}
		for contract, include := range names {
			t.Run(contract+" as "+c.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				r := o.ask(t, "../api/"+contract+"/openapi.yaml", address, c.name, append(include, "--max-examples", o.examples)...)
				t.Logf("%s as %s: %s, %.0f s", contract, c.name, r, time.Since(began).Seconds())
				if r.Exit != 0 || r.Operations.Tested != len(include)/2 {
					t.Errorf("the program is not as its contract says, or could not be asked:\n%s", r.out)
				}
				mu.Lock()
				defer mu.Unlock()
				for name, phases := range r.Rates {
					for _, phase := range phases {
						through[name] = through[name] || phase.Accepted > 0
					}
				}
			})
		}
	}
	for _, op := range house.contracts(new([]string)) {
		if op.module() == module && !asked[op.String()] {
			t.Errorf("nobody asks %s: a caller needs the scopes %v", op, op.scopes)
		}
	}
}

// knows reports whether a contract has a scope that a caller has and those before do not.
func (o *outsider) knows(contract string, i int) bool {
	return slices.ContainsFunc(o.callers[i].scopes, func(scope string) bool {
		earlier := slices.ContainsFunc(o.callers[:i], func(c caller) bool { return slices.Contains(c.scopes, scope) })
		return !earlier && strings.Contains(contract, scope)
	})
}

// report is what schemathesis found.
type report struct {
	Exit       int `json:"exit_code"`
	Operations struct{ Total, Tested int }
	Cases      struct {
		Generated int
		Failures  int `json:"unique_failures"`
	} `json:"test_cases"`
	Failures []struct{ Type string }
	Errors   []struct{ Title string }
	Rates    map[string]map[string]struct{ Accepted int } `json:"valid_rates"` // by operation and phase
	out      []byte                                       // what it said
}

func (r report) String() string {
	return fmt.Sprintf("%d of %d operations, %d cases, %d failures", r.Operations.Tested, r.Operations.Total, r.Cases.Generated, r.Cases.Failures+len(r.Errors))
}

// ask asks a server what a contract promises, as one of the callers.
func (o *outsider) ask(t *testing.T, contract, address, as string, args ...string) (r report) {
	t.Helper()
	contract, err := filepath.Abs(contract)
	if err != nil {
		t.Fatal(err)
	}
	dir := o.room(t, filepath.Base(filepath.Dir(filepath.Dir(contract))), as)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	args = append([]string{"--no-color", "run", contract, "--url", address, "--checks", "all", "--seed", o.seed,
		"--report", "json", "--report-json-path", "report.json"}, args...)
	cmd := exec.CommandContext(ctx, o.program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "COLUMNS=160")
	out, failed := cmd.CombinedOutput() // what it found is in the report
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatalf("schemathesis did not run: %v, %v\n%s", failed, err, out)
	}
	r.out = out
	return r
}

// room is a folder to run in: the settings, with those of a module behind them, and who asks.
func (o *outsider) room(t *testing.T, module, as string) string {
	t.Helper()
	dir := t.TempDir()
	files := with(o.files, "callers.json", o.identities(t))
	for _, name := range []string{"schemathesis.toml", module + ".toml", "hooks.py"} {
		content, err := os.ReadFile("../tools/schemathesis/" + name)
		if err != nil && (name != module+".toml" || !errors.Is(err, fs.ErrNotExist)) {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	files["schemathesis.toml"] += fmt.Sprintf("auth.wfc.user = %q\n", as) + files[module+".toml"]
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// identities tells schemathesis who asks, in the form of Web Fuzzing Commons. The tokens are from a server of ours.
func (o *outsider) identities(t *testing.T) string {
	t.Helper()
	type object map[string]any
	tokens := http.NewServeMux()
	server := httptest.NewServer(tokens)
	t.Cleanup(server.Close)
	var entries []object
	for _, c := range o.callers {
		tokens.HandleFunc("/"+c.name, func(w http.ResponseWriter, _ *http.Request) {
			token, err := c.token()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(object{"token": token})
		})
		entries = append(entries, object{"name": c.name, "loginEndpointAuth": object{
			"verb": "GET", "externalEndpointURL": server.URL + "/" + c.name,
			"token": object{"extractFrom": "body", "extractSelector": "/token", "sendIn": "header", "sendName": "Authorization", "sendTemplate": "Bearer {token}"},
		}})
	}
	document := object{}
	document["auth"] = entries // a word of the form and not the module, with which an entry of a literal would go
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
