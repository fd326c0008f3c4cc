package users_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
)

// operator is somebody who looks after people.
func (w *world) operator(id uuid.UUID) *caller {
	return w.client(w.Server, authn.Principal{UserID: id, Scopes: []string{"users:read"}})
}

func (c *caller) lists(params *usersv1.ListUsersParams) usersv1.UserPage {
	c.t.Helper()
	r, err := c.ListUsersWithResponse(c.t.Context(), params)
	if err != nil || r.JSON200 == nil {
		c.t.Fatalf("listing: %v %s", err, r.GetBody())
	}
	return *r.JSON200
}

// says has a profile follow its account, with its status.
func (c *caller) says(id uuid.UUID, status usersv1.ProvisionStatus, version int64) {
	c.t.Helper()
	r, err := c.ProvisionUserWithResponse(c.t.Context(), id, usersv1.Provision{Email: id.String() + "@example.com", AuthVersion: version, Status: &status})
	if err != nil || r.StatusCode() != 204 {
		c.t.Fatalf("provisioning: %v %s", err, r.GetBody())
	}
}

func addresses(p usersv1.UserPage) (list []string) {
	for _, u := range p.Data {
		name, _, _ := strings.Cut(u.Email, "@")
		list = append(list, name)
	}
	return list
}

func TestOperatorsListProfiles(t *testing.T) {
	w := newWorld(t)
	auth, op := w.auth(), w.operator(uuid.Must(uuid.NewV7()))
	if p := op.lists(nil); p.Data == nil || len(p.Data) > 0 || p.Page.HasMore {
		t.Errorf("with nobody there: %+v", p)
	}
	var want []string
	for i := range 5 {
		id := uuid.Must(uuid.NewV7())
		auth.provisions(id, fmt.Sprintf("p%d@Example.com", i), 1)
		if i%2 == 1 {
			r, err := auth.ProvisionUserWithResponse(t.Context(), id, usersv1.Provision{
				Email: fmt.Sprintf("p%d@Example.com", i), AuthVersion: 2, Status: new(usersv1.ProvisionStatusDisabled),
			})
			if err != nil || r.StatusCode() != 204 {
				t.Fatalf("disabling: %v %s", err, r.Body)
			}
		}
		want = append([]string{fmt.Sprintf("p%d", i)}, want...)
	}

	var got []string
	params := usersv1.ListUsersParams{Limit: new(2)}
	for range 4 {
		p := op.lists(&params)
		got = append(got, addresses(p)...)
		if params.Cursor = p.Page.NextCursor; !p.Page.HasMore {
			break
		}
		if len(got) == 2 { // who comes meanwhile shifts nothing
			auth.provisions(uuid.Must(uuid.NewV7()), "late@example.com", 1)
		}
	}
	if !slices.Equal(got, want) || params.Cursor != nil {
		t.Errorf("page by page: %v, want %v", got, want)
	}

	for says, c := range map[string]struct {
		params usersv1.ListUsersParams
		want   []string
	}{
		"who is disabled":               {usersv1.ListUsersParams{Status: new(usersv1.ListUsersParamsStatusDisabled)}, []string{"p3", "p1"}},
		"who is active":                 {usersv1.ListUsersParams{Status: new(usersv1.ListUsersParamsStatusActive)}, []string{"late", "p4", "p2", "p0"}},
		"an address, in other case":     {usersv1.ListUsersParams{Email: new("P3@example.com")}, []string{"p3"}},
		"a part of an address":          {usersv1.ListUsersParams{Email: new("3@example.com")}, nil},
		"an address of somebody not so": {usersv1.ListUsersParams{Email: new("p3@example.com"), Status: new(usersv1.ListUsersParamsStatusActive)}, nil},
	} {
		if got := addresses(op.lists(&c.params)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", says, got, c.want)
		}
	}

	first := op.lists(&usersv1.ListUsersParams{Limit: new(1), Status: new(usersv1.ListUsersParamsStatusActive)})
	for says, params := range map[string]usersv1.ListUsersParams{
		"of another list": {Cursor: first.Page.NextCursor}, "that is none": {Cursor: new("x")},
		"of another status": {Cursor: first.Page.NextCursor, Status: new(usersv1.ListUsersParamsStatusDisabled)},
		"with an address":   {Cursor: first.Page.NextCursor, Status: new(usersv1.ListUsersParamsStatusActive), Email: new("p3@example.com")},
	} {
		r, err := op.ListUsersWithResponse(t.Context(), &params)
		if err != nil || r.StatusCode() != 400 || r.ApplicationproblemJSONDefault.Code != "invalid-cursor" {
			t.Errorf("a cursor %s: %v %s", says, err, r.Body)
		}
	}
	for says, c := range map[string]*caller{"a person": w.person(uuid.New()), "a module": auth} {
		if r, err := c.ListUsersWithResponse(t.Context(), nil); err != nil || r.StatusCode() != 403 {
			t.Errorf("%s lists: %v %s", says, err, r.Body)
		}
	}
}

func TestAProfileFollowsTheStatusOfItsAccount(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	auth, ada := w.auth(), w.person(id)
	auth.provisions(id, "ada@example.com", 1)
	for _, c := range []struct {
		says string
		do   func()
		want usersv1.UserStatus
	}{
		{"a new one that nobody says more of", func() {}, "active"},
		{"disabled", func() { auth.says(id, "disabled", 3) }, "disabled"},
		{"an older word that arrives late", func() { auth.says(id, "active", 2) }, "disabled"},
		{"a caller that says nothing of it", func() { auth.provisions(id, "ada@example.com", 4) }, "disabled"},
		{"enabled", func() { auth.says(id, "active", 5) }, "active"},
	} {
		c.do()
		if me, _ := ada.reads(); me.Status != c.want {
			t.Errorf("%s: %s, want %s", c.says, me.Status, c.want)
		}
	}
	other := uuid.Must(uuid.NewV7())
	auth.says(other, "disabled", 1)
	if me, _ := w.person(other).reads(); me.Status != "disabled" {
		t.Errorf("disabled before its profile was made: %s", me.Status)
	}
}
