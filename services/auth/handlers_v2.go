package auth

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// v2 answers the second contract with the rules and the store of the first.
type v2 struct{ *Module }

// PutIdentity makes or replaces the account of an address.
func (m v2) PutIdentity(ctx context.Context, req authv2.PutIdentityRequestObject) (authv2.PutIdentityResponseObject, error) {
	w := wishOf(req.Params.IfMatch != nil, req.Params.IfNoneMatch != nil)
	stands, made, err := m.putIdentity(ctx, req.Body.Email, req.Body.Password, texts(req.Body.Roles), w)
	if err != nil {
		return nil, err
	}
	if made {
		return authv2.PutIdentity201JSONResponse(stands.api()), nil
	}
	return authv2.PutIdentity200JSONResponse(stands.api()), nil
}

// putIdentity does what the wish says of an address, and tells whether it made the account that stands there now.
func (m *Module) putIdentity(ctx context.Context, email, password string, roles []string, w wish) (stands identity, made bool, err error) {
	if err := checkPassword(password, m.config.PasswordMinLength); err != nil {
		return stands, false, err
	}
	hash, err := m.hasher.hash(ctx, password)
	if err != nil {
		return stands, false, err
	}
	asked, err := m.newIdentity(ctx, seal.NormalEmail(email), roles)
	if err != nil {
		return stands, false, err
	}
	stands, made, err = m.putOnce(ctx, asked, password, hash, w)
	if errors.Is(err, errExists) { // made by somebody else at this very moment: look again
		stands, made, err = m.putOnce(ctx, asked, password, hash, w)
	}
	return stands, made, err
}

var errExists = problem.Conflict.New("account-exists", "There is an account with this address, with another password or other roles.")

func (m *Module) putOnce(ctx context.Context, asked identity, password, hash string, w wish) (stands identity, made bool, err error) {
	c, err := m.store.credentials(ctx, asked.EmailIndex)
	if err != nil {
		return stands, false, err
	}
	same := false
	if c.Hash != "" {
		if stands, err = m.store.identity(ctx, c.IdentityID); err != nil {
			return stands, false, err
		}
		if same, err = m.same(ctx, c, password, w); err != nil {
			return stands, false, err
		}
		same = same && slices.Equal(stands.Roles, asked.Roles)
	}
	switch do, err := w.of(c.Hash != "", same); {
	case err != nil:
		return stands, false, err
	case do == making:
		stands, err = m.store.makeIdentity(ctx, asked, hash)
		return stands, err == nil, err
	case do == replacing:
		if err := keepsOwnRole(ctx, c.IdentityID, asked.Roles); err != nil {
			return stands, false, err
		}
		stands, err = m.store.replaceIdentity(ctx, c.IdentityID, asked.Roles, hash)
		return stands, false, err
	}
	return stands, false, nil
}

// same tells whether the account has this password already. The answer tells a guesser, so that somebody asks is noted before it is known; and
// guesses are counted, but for one that replaces the password when it is wrong.
func (m *Module) same(ctx context.Context, c credentials, password string, w wish) (same bool, err error) {
	succeeded := func() {}
	if !w.replace {
		if succeeded, err = m.throttle.try(ctx, passwordsOf(c.EmailIndex), ""); err != nil {
			return false, err
		}
	}
	if err = m.store.audit(ctx, m.store.db, "identity.compared", c.IdentityID, uuid.Nil); err != nil {
		return false, err
	}
	if same, _, err = m.hasher.matches(ctx, password, c.Hash); same {
		succeeded()
	}
	return same, err
}

// texts are the values of an enum as plain ones.
func texts[T ~string](list []T) (plain []string) {
	for _, v := range list {
		plain = append(plain, string(v))
	}
	return plain
}
