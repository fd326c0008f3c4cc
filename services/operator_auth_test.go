package main

import (
	"strings"
	"testing"
)

func TestTheOperatorIsMadeOnceAndReplacedOnlyWhenThatIsSaid(t *testing.T) {
	t.Parallel()
	env := world(t)
	s := &teller{t: t, url: start(t, env).url}
	_ = s.join("mallory@example.com") // who registers the operator's address does not become the operator
	for _, c := range []struct{ email, password, flag, want string }{
		{"root@example.com", "the operator's long password", "", "root@example.com is an operator"},
		{"root@example.com", "the operator's long password", "", "root@example.com is an operator"},
		{"root@example.com", "another long password of root", "", "has an account already, with another password or without the role; operator --replace changes that"},
		{"root@example.com", "another long password of root", "--replace", "root@example.com is an operator"},
		{"mallory@example.com", "the long password of mallory@example.com", "", "has an account already"},
		{"new@example.com", "the new operator's password", "--replace", "new@example.com is an operator"},
		{"new@example.com", "short", "--replace", "validation-failed"},
		{"new@example.com", "", "--force", "operator, or operator --replace"},
	} {
		args := []string{"operator"}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		out, err := command(t, with(env, "OPERATOR_EMAIL", c.email, "OPERATOR_PASSWORD", c.password), args...).CombinedOutput()
		if done := strings.Contains(c.want, "is an operator"); !strings.Contains(string(out), c.want) || done != (err == nil) {
			t.Errorf("%s with %q %s: %v\n%s\nwant %s", c.email, c.password, c.flag, err, out, c.want)
		}
	}
	_ = s.login("root@example.com", "another long password of root")
	_ = s.login("new@example.com", "the new operator's password")
	_ = s.login("mallory@example.com", "the long password of mallory@example.com")
}
