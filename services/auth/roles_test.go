package auth

import (
	"slices"
	"strings"
	"testing"

	authv1 "example.com/groundwork/api/auth/v1"
)

func TestNarrow(t *testing.T) {
	granted := []string{"a", "b", "c"}
	for _, c := range []struct {
		asked string
		want  string
		ok    bool
	}{
		{"", "a b c", true},
		{"  ", "a b c", true},
		{"b", "b", true},
		{"c a", "c a", true},
		{"a a", "a", true},
		{"a d", "", false},
		{"A", "", false},
		{"a,b", "", false},
	} {
		if got, ok := narrow(granted, &c.asked); ok != c.ok || strings.Join(got, " ") != c.want {
			t.Errorf("%q of a, b, c gives %v %t", c.asked, got, ok)
		}
	}
	if got, ok := narrow(granted, nil); !ok || !slices.Equal(got, granted) {
		t.Errorf("nothing asked gives %v %t", got, ok)
	}
}

func TestRolesExpandToScopes(t *testing.T) {
	if got := scopesOf([]string{roleUser, roleUser}); !slices.Equal(got, permissions[roleUser]) {
		t.Errorf("user twice is %v", got)
	}
	if got := scopesOf([]string{"emperor"}); len(got) != 0 {
		t.Errorf("a role that is none may %v", got)
	}
	if slices.Contains(scopesOf([]string{roleUser}), "identities:write") || slices.Contains(allScopes(), "internal") {
		t.Error("a person gets a scope that is not for people")
	}
	for role := range permissions {
		if !authv1.NewIdentityRoles(role).Valid() {
			t.Errorf("the contract does not know the role %s", role)
		}
	}
}
