package main

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/groundwork/migrations"
)

func TestTheDoctorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough", "ISSUER", "http://"+free(t))
	p := start(t, with(env, "HTTP_ADDR", strings.TrimPrefix(env["ISSUER"], "http://")))
	(&teller{t: t, url: p.url}).gather(env) // so that there are keys
	out, err := command(t, env, "doctor").CombinedOutput()
	if err != nil || strings.Contains(string(out), "WRONG") {
		t.Fatalf("of what is well: %v\n%s", err, out)
	}
	for _, m := range migrations.Modules() {
		if !strings.Contains(string(out), m+": schema") {
			t.Errorf("it has not looked at %s:\n%s", m, out)
		}
	}
	openID := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
		}
	}))
	defer openID.Close()
	if out, err := command(t, with(env, "ISSUER", openID.URL), "doctor").CombinedOutput(); err != nil || strings.Contains(string(out), "ISSUER") {
		t.Errorf("of an issuer that knows OpenID Connect only: %v\n%s", err, out)
	}
	login, err := migrations.LocalURL(env["DATABASE_URL"], "auth")
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	nowhere.Host = free(t)
	behind := with(world(t), "ISSUER", env["ISSUER"])
	execIn(t, behind["DATABASE_URL"], `delete from auth.schema_version where version_id = (select max(version_id) from auth.schema_version)`)
	apart, others := with(env, "AUTH_URL", "http://"+free(t)), []string{}
	for _, m := range migrations.Modules() {
		if m != "auth" {
			apart[strings.ToUpper(m)+"_CLIENT_SECRET"], others = "a secret of "+m+" that is long enough", append(others, m)
		}
	}
	for _, c := range []struct {
		what, want string
		env        map[string]string
		args       []string
		well       bool
	}{
		{"a database that is away", "has `groundwork migrate up` made the login?", with(env, "AUTH_DATABASE_URL", nowhere.String()), nil, false},
		{"a login that owns everything", "can change its own rights", with(env, "AUTH_DATABASE_URL", env["DATABASE_URL"]), nil, false},
		{"a schema that is behind", "run `groundwork migrate up`", behind, nil, false},
		{"another key", "were made with another key-encryption key", with(env, "KEY_ENCRYPTION_KEY_FILE", "", "KEY_ENCRYPTION_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32))), nil, false},
		{"a mail server that is away", "does it know the user?", with(env, "SMTP_URL", "smtp://"+free(t)), nil, false},
		{"a peer that is away", "is AUTH_URL right", apart, []string{"--modules=" + strings.Join(others, ",")}, false},
		{"an issuer that does not answer, before the first start", "before the first start", with(env, "ISSUER", "http://"+free(t)), nil, true},
		{"Redis is away", "counts failed logins in each process alone", with(env, "REDIS_URL", "redis://"+free(t)), nil, true},
		{"a setting that is none", "settings", with(env, "RATE_LIMIT", "many"), nil, false},
	} {
		if len(c.args) > 0 && len(others) == 0 {
			continue
		}
		out, err := command(t, c.env, append([]string{"doctor"}, c.args...)...).CombinedOutput()
		if !strings.Contains(string(out), c.want) || c.well != (err == nil) {
			t.Errorf("%s: %v\n%s\nwant %q", c.what, err, out, c.want)
		}
		for _, secret := range []string{"password=", env["OPERATOR_PASSWORD"]} {
			if strings.Contains(string(out), secret) {
				t.Errorf("%s: it shows %q", c.what, secret)
			}
		}
	}
}
