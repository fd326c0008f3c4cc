// only with auth: this file

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/groundwork/pkg/postgres/pgtest"
)

// served is a real server on a database of its own, as `make run` starts one; the environment says where it is.
func served(t *testing.T) map[string]string {
	t.Helper()
	folder, db := t.TempDir(), pgtest.New(t)
	// go test takes a result from before when nothing that it saw has changed, and it does not see what go build reads.
	for _, made := range []string{"api", "migrations", "pkg", "services"} {
		if err := filepath.WalkDir("../../"+made, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(folder, "groundwork")
	if out, err := exec.Command("go", "build", "-ldflags=-w", "-o", program, "../../services").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	env := map[string]string{
		"ENVIRONMENT": "local", "DATABASE_URL": db.OwnerURL, "REDIS_URL": pgtest.RedisURL(t), "KEY_ENCRYPTION_KEY_FILE": filepath.Join(folder, "key"),
		"HTTP_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0",
		"OPERATOR_EMAIL": "operator@example.com", "OPERATOR_PASSWORD": "a long password, for this test only",
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		return cmd
	}
	if out, err := command("operator").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	serve := command("serve")
	log, err := serve.StderrPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Signal(os.Interrupt)
		_ = serve.Wait()
	})
	for lines := bufio.NewScanner(log); env["BASE_URL"] == "" && lines.Scan(); {
		var record struct{ Msg, API string }
		if json.Unmarshal(lines.Bytes(), &record) == nil && record.Msg == "serving" {
			env["BASE_URL"] = "http://" + record.API
		}
	}
	if env["BASE_URL"] == "" {
		t.Fatal("the server does not say where it is")
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	return env
}

func TestTokensAndTheirMails(t *testing.T) {
	t.Parallel()
	env := served(t)
	token := func(who string) (access, said string) {
		t.Helper()
		out, said, err := do(t, env, "", "token", who)
		if err != nil || !regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\n$`).MatchString(out) {
			t.Fatalf("%s: stdout is to be a token and nothing else: %q, %v", who, out, err)
		}
		return strings.TrimSpace(out), said
	}
	user, said := token("new-user")
	operator, _ := token("operator")
	email := regexp.MustCompile(`new-user-\w+@example.com`).FindString(said)
	if email == "" {
		t.Errorf("nobody says who the new user is: %q", said)
	}
	type request struct {
		method, path, token string
		body                map[string]any
		want                int
	}
	colleague := map[string]any{"email": "colleague@example.com", "password": "correct horse battery staple", "roles": []string{"user"}}
	requests := []request{
		{"PUT", "/v2/auth/identities", user, colleague, 403},
		{"PUT", "/v2/auth/identities", operator, colleague, 201},
		// only with users:
		{"GET", "/v1/users/me", user, nil, 200},
		// end users
		// only with transactions:
		{"POST", "/v1/accounts", operator, map[string]any{"currency": "EUR", "kind": "external"}, 201},
		{"POST", "/v1/accounts", user, map[string]any{"currency": "EUR", "kind": "external"}, 403},
		// end transactions
		{"POST", "/v1/auth/logout", "nonsense", nil, 401},
		{"POST", "/v1/auth/logout", user, nil, 204},
	}
	s, err := running(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if got, err := s.call(t.Context(), r.method, r.path, r.token, r.body, nil); got != r.want || err != nil {
			t.Errorf("%s %s %v: %d, %v; want %d", r.method, r.path, r.body, got, err, r.want)
		}
	}

	out, _, err := do(t, env, "", "mail", "-to", email)
	if err != nil || !strings.Contains(out, "to "+email) || !strings.Contains(out, "\ntoken ") {
		t.Errorf("the mail of %s: %q, %v", email, out, err)
	}
	_, other := token("new-user")
	if out, _, err := do(t, env, "", "mail", "-n", "1"); err != nil || strings.Contains(out, email) || !strings.Contains(other, between(out, "to ", " ")) {
		t.Errorf("the newest mail: %q, %v", out, err)
	}

	for _, args := range [][]string{{"token"}, {"token", "nobody"}} {
		if out, _, err := do(t, env, "", args...); err == nil || !strings.Contains(err.Error(), "new-user") || out != "" {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	env["OPERATOR_PASSWORD"] = "another"
	if out, _, err := do(t, env, "", "token", "operator"); err == nil || !strings.Contains(err.Error(), "401") || out != "" {
		t.Errorf("with a wrong password: %q, %v", out, err)
	}
}

func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}
