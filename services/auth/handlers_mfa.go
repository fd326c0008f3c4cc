package auth

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
)

// secondFactor is the answer to a right password of somebody who has a second factor.
func (m *Module) secondFactor(ctx context.Context, c credentials) (authv1.SecondFactor, error) {
	if err := m.store.audit(ctx, m.store.db, "mfa.asked", c.IdentityID, uuid.Nil); err != nil { // somebody knows the password
		return authv1.SecondFactor{}, err
	}
	w := waiting{c.IdentityID, c.ChangedAt, time.Now().Add(loginLifetime)}
	token, err := m.issue(ctx, waitingTicket, w.payload())
	return authv1.SecondFactor{
		Status: authv1.SecondFactorStatusMfaRequired, MfaToken: token, ExpiresIn: int(loginLifetime.Seconds()),
		Methods: []authv1.SecondFactorMethods{authv1.SecondFactorMethodsTotp, authv1.SecondFactorMethodsRecoveryCode},
	}, err
}

// VerifySecondFactor goes on with a login.
func (m *Module) VerifySecondFactor(ctx context.Context, req authv1.VerifySecondFactorRequestObject) (authv1.VerifySecondFactorResponseObject, error) {
	says, err := m.open(ctx, waitingTicket, req.Body.MfaToken)
	if errors.Is(err, errTicket) {
		return nil, errToken
	}
	if err != nil {
		return nil, err
	}
	w := waitingOf(says)
	if !time.Now().Before(w.expires) {
		return nil, errToken
	}
	c, err := m.store.credentialsOf(ctx, w.identity)
	if problem.Is(err, problem.NotFound) || err == nil && !c.ChangedAt.Equal(w.password) {
		return nil, errToken
	}
	if err != nil {
		return nil, err
	}
	device := m.device(ctx, c, req.Body.DeviceToken)
	if err := m.useFactor(ctx, c, req.Body.Code, device); err != nil {
		return nil, err
	}
	inCookie := req.Body.RefreshTokenIn != nil && *req.Body.RefreshTokenIn == authv1.SecondFactorProofRefreshTokenInCookie
	tokens, cookie, err := m.begin(ctx, c, acrFactor, byFactor, device, inCookie)
	return authv1.VerifySecondFactor200JSONResponse{Body: tokens, Headers: authv1.VerifySecondFactor200ResponseHeaders{SetCookie: cookie}}, err
}

// byFactor is how somebody with a second factor has proved who they are (amr, RFC 8176).
var byFactor = []string{"pwd", "otp", "mfa"}

// useFactor takes a code, once. A wrong one counts as a wrong password does, and as a wrong code, which no new password forgets: a hundred of
// those in a row, and codes of the app are taken no more until a recovery code or an operator opens it.
func (m *Module) useFactor(ctx context.Context, c credentials, code, device string) error {
	if !c.Active || c.Blocked || !c.SecondFactor {
		return errCredentials
	}
	succeeded, err := m.throttle.try(ctx, codesOf(c.EmailIndex), device)
	if err != nil {
		return err
	}
	var right bool
	if len(code) == totpDigits {
		right, err = m.useTOTP(ctx, c.IdentityID, code)
	} else {
		right, err = m.store.useRecoveryCode(ctx, c.IdentityID, digest(plainCode(code)))
	}
	if err == nil && !right {
		err = cmp.Or(m.store.failedCode(ctx, c.IdentityID), m.store.failed(ctx, c.IdentityID), error(errCredentials))
	}
	if err == nil {
		succeeded()
	}
	return err
}

func (m *Module) useTOTP(ctx context.Context, identity uuid.UUID, code string) (right bool, err error) {
	factor, secret, err := m.totpOf(ctx, identity)
	if err != nil {
		return false, err
	}
	step, ok := totpStep(secret, code, factor.LastStep, time.Now())
	if !ok {
		return false, nil
	}
	return m.store.useStep(ctx, identity, step)
}

func (m *Module) totpOf(ctx context.Context, identity uuid.UUID) (factor, string, error) {
	f, err := m.store.totp(ctx, identity)
	if err != nil {
		return f, "", err
	}
	secret, err := m.keys.Open(ctx, f.SecretCT, "totp", "secret_ct", identity)
	return f, string(secret), err
}

// BeginTotp makes a secret that does not count yet.
func (m *Module) BeginTotp(ctx context.Context, _ authv1.BeginTotpRequestObject) (authv1.BeginTotpResponseObject, error) {
	id := authn.From(ctx).UserID
	email, err := m.addressOf(ctx, id)
	if err != nil {
		return nil, err
	}
	secret, address := newTOTP(m.config.Issuer, email)
	sealed, err := m.keys.Seal(ctx, []byte(secret), "totp", "secret_ct", id)
	if err != nil {
		return nil, err
	}
	return authv1.BeginTotp201JSONResponse{Secret: secret, Uri: address}, m.store.putTOTP(ctx, id, sealed)
}

// ConfirmTotp has the secret count, now that the caller's app is seen to know it.
func (m *Module) ConfirmTotp(ctx context.Context, req authv1.ConfirmTotpRequestObject) (authv1.ConfirmTotpResponseObject, error) {
	caller := authn.From(ctx)
	factor, secret, err := m.totpOf(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	step, ok := totpStep(secret, req.Body.Code, factor.LastStep, time.Now())
	if !ok {
		return nil, invalid("/code", "wrong", "is not what the app shows now")
	}
	codes := newRecoveryCodes()
	if err := m.store.confirmTOTP(ctx, caller.UserID, caller.SessionID, factor.SecretCT, step, digests(codes)); err != nil {
		return nil, err
	}
	return authv1.ConfirmTotp200JSONResponse{RecoveryCodesJSONResponse: authv1.RecoveryCodesJSONResponse{RecoveryCodes: codes}}, nil
}

// DeleteTotp takes the second factor away.
func (m *Module) DeleteTotp(ctx context.Context, _ authv1.DeleteTotpRequestObject) (authv1.DeleteTotpResponseObject, error) {
	return authv1.DeleteTotp204Response{}, m.store.deleteTOTP(ctx, authn.From(ctx).UserID)
}

// ReplaceRecoveryCodes makes new recovery codes.
func (m *Module) ReplaceRecoveryCodes(ctx context.Context, _ authv1.ReplaceRecoveryCodesRequestObject) (authv1.ReplaceRecoveryCodesResponseObject, error) {
	codes := newRecoveryCodes()
	if err := m.store.replaceRecoveryCodes(ctx, authn.From(ctx).UserID, digests(codes)); err != nil {
		return nil, err
	}
	return authv1.ReplaceRecoveryCodes200JSONResponse{RecoveryCodesJSONResponse: authv1.RecoveryCodesJSONResponse{RecoveryCodes: codes}}, nil
}

func digests(codes []string) (all [][]byte) {
	for _, code := range codes {
		all = append(all, digest(plainCode(code)))
	}
	return all
}
