package main

import (
	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	usersv1 "example.com/groundwork/api/users/v1"
)

func (p *person) users() *usersv1.ClientWithResponses {
	c, err := usersv1.NewClientWithResponses(p.url, usersv1.WithHTTPClient(p.client))
	if err != nil {
		panic(err)
	}
	return c
}

// profiles is the chapter of users: everybody has a profile, and changes one's own.
func (s *teller) profiles(c cast) {
	s.t.Helper()
	ctx := s.t.Context()
	eventually(s.t, "alice has a profile, which a job makes", func() bool {
		me, err := s.quiet(c.alice).users().GetMeWithResponse(ctx, nil)
		s.must(err)
		return me.JSON200 != nil
	})
	me, err := c.alice.users().GetMeWithResponse(ctx, nil)
	s.wants(200, me, err)
	tag := me.HTTPResponse.Header.Get("ETag")
	patched, err := c.alice.users().UpdateMeWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, &usersv1.UpdateMeParams{IfMatch: tag},
		usersv1.UserPatch{Name: nullable.NewNullableWithValue("Alice")})
	s.wants(200, patched, err)
	stale, err := c.alice.users().UpdateMeWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, &usersv1.UpdateMeParams{IfMatch: tag},
		usersv1.UserPatch{Name: nullable.NewNullNullable[string]()})
	s.wants(412, stale, err)
}

// provision makes a profile, as auth does.
func (s *teller) provision(token string, id uuid.UUID) {
	s.t.Helper()
	made, err := s.as(token).users().ProvisionUserWithResponse(s.t.Context(), id, usersv1.Provision{Email: id.String() + "@example.com", AuthVersion: 1})
	s.wants(204, made, err)
}
