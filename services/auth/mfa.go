package auth

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// How a session was proved (acr), from weak to strong.
const (
	acrPassword = "1"
	acrFactor   = "2"
)

const (
	totpPeriod    = 30 // seconds, what every authenticator app takes
	totpDigits    = 6
	recoveryCodes = 10
	loginLifetime = 5 * time.Minute // of a login that waits for its second factor
)

// newTOTP makes a secret for an authenticator app, and the address that brings it there.
func newTOTP(issuer, account string) (secret, address string, err error) {
	name := issuer
	if u, err := url.Parse(issuer); err == nil && u.Host != "" {
		name = u.Hostname()
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: name, AccountName: account, Period: totpPeriod, SecretSize: 20})
	if err != nil {
		return "", "", err
	}
	return key.Secret(), key.URL(), nil
}

// totpStep finds the step of time that a code is of: now's, or one beside it, as clocks differ. One that was used, or is before one that
// was, does not count (RFC 6238, section 5.2).
func totpStep(secret, code string, last int64, now time.Time) (step int64, ok bool) {
	current := now.Unix() / totpPeriod
	for step := current - 1; step <= current+1; step++ {
		right, err := hotp.ValidateCustom(code, uint64(step), secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && right && step > last {
			return step, true
		}
	}
	return 0, false
}

// newRecoveryCodes makes codes of 128 bits, in groups that can be read to somebody.
func newRecoveryCodes() (codes []string) {
	for range recoveryCodes {
		raw := make([]byte, 16)
		_, _ = rand.Read(raw) // never fails since Go 1.24
		text := hex.EncodeToString(raw)
		var groups []string
		for i := 0; i < len(text); i += 8 {
			groups = append(groups, text[i:i+8])
		}
		codes = append(codes, strings.Join(groups, "-"))
	}
	return codes
}

// plainCode is a recovery code as it is kept, however it was typed.
func plainCode(code string) string {
	return strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// waiting is a login that waits for its second factor.
type waiting struct {
	identity uuid.UUID
	password time.Time // when the one that was right had been set: another one ends this login
	expires  time.Time
}

const waitingSize = 16 + 8 + 8

func (w waiting) payload() []byte {
	payload := append(make([]byte, 0, waitingSize), w.identity[:]...)
	payload = binary.BigEndian.AppendUint64(payload, uint64(w.password.UnixMicro()))
	return binary.BigEndian.AppendUint64(payload, uint64(w.expires.Unix()))
}

func waitingOf(payload []byte) waiting {
	return waiting{
		identity: uuid.UUID(payload[:16]),
		password: time.UnixMicro(int64(binary.BigEndian.Uint64(payload[16:]))),
		expires:  time.Unix(int64(binary.BigEndian.Uint64(payload[24:])), 0),
	}
}
