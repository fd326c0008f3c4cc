package main

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	yaml "github.com/oasdiff/yaml3"

	"example.com/groundwork/migrations"
)

// TestAModuleStartsWithWhatItSaysItNeeds starts each module alone, in production, with the settings that it is refused without, and no other.
func TestAModuleStartsWithWhatItSaysItNeeds(t *testing.T) {
	t.Parallel()
	for _, m := range migrations.Modules() {
		env := map[string]string{"ENVIRONMENT": "production"}
		_, _, err := load(func(name string) string { return env[name] }, []string{m})
		if err == nil {
			t.Fatalf("%s is not refused without any settings", m)
		}
		_, missing, _ := strings.Cut(err.Error(), "in production: ")
		for name := range strings.SplitSeq(strings.TrimSpace(missing), ", ") {
			name, _, _ = strings.Cut(name, " or ")
			env[name] = sample(name)
		}
		c, _, err := load(func(name string) string { return env[name] }, []string{m})
		if err == nil {
			_, err = newApp(t.Context(), c, slog.New(slog.DiscardHandler), []string{m})
		}
		if err != nil {
			t.Errorf("%s with what it needs does not start: %v\nname in needs, in services/config.go, what it does not run without", m, err)
		}
	}
}

// sample is a value that a setting may have.
func sample(name string) string {
	switch {
	case strings.HasSuffix(name, "DATABASE_URL"):
		return "postgres://somebody:secret@127.0.0.1:1/db"
	case name == "REDIS_URL":
		return "redis://127.0.0.1:1"
	case name == "SMTP_URL":
		return "smtps://127.0.0.1:1"
	case strings.HasSuffix(name, "_URL"), name == "ISSUER":
		return "https://" + strings.ToLower(strings.ReplaceAll(name, "_", "-")) + ".example.com"
	case name == "KEY_ENCRYPTION_KEY":
		return base64.StdEncoding.EncodeToString(make([]byte, 32))
	}
	return strings.Repeat("x", 40)
}

// TestEveryServiceThatRunsApartHasWhatItNeeds starts each module with what deploy/apart.yml gives it.
func TestEveryServiceThatRunsApartHasWhatItNeeds(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/apart.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
		}
	}
	text = bytes.ReplaceAll(text, []byte("!reset null"), []byte("{}"))
	text = regexp.MustCompile(`\$\{\w+:(?:-([^}]*)|\+[^}]*)\}`).ReplaceAll(text, []byte("$1"))
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, m := range migrations.Modules() {
		env := file.Services[m].Environment
		if command := strings.Join(file.Services[m].Command, " "); command != "serve --modules="+m {
			t.Errorf("deploy/apart.yml does not serve %s in a service of its own: %q", m, command)
			continue
		}
		if env["KEY_ENCRYPTION_KEY_FILE"] != "" { // a volume of its own
			env["KEY_ENCRYPTION_KEY_FILE"] = filepath.Join(t.TempDir(), "key")
		}
		c, _, err := load(func(name string) string { return env[name] }, []string{m})
		if err == nil {
			_, err = newApp(t.Context(), c, slog.New(slog.DiscardHandler), []string{m})
		}
		if err != nil {
			t.Errorf("the service %s of deploy/apart.yml does not start: %v", m, err)
		}
	}
}
