package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what authenticator apps know; HMAC does not need more of it
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
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

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// newTOTP makes a secret of 160 bits for an authenticator app, and the address that brings it there.
func newTOTP(issuer, account string) (secret, address string) {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	secret = base32Text.EncodeToString(raw)
	if u, err := url.Parse(issuer); err == nil && u.Host != "" {
		issuer = u.Hostname()
	}
	return secret, (&url.URL{
		Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account,
		RawQuery: url.Values{"secret": {secret}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}.Encode(),
	}).String()
}

// totpCode is the code of a step of time (RFC 4226, section 5.3; RFC 6238, section 4). It is a few lines, and libraries for it draw pictures.
func totpCode(secret string, step int64) (string, error) {
	key, err := base32Text.DecodeString(secret)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	number := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&0xf:]) & (1<<31 - 1)
	return fmt.Sprintf("%06d", number%1_000_000), nil
}

// totpStep finds the step of time that a code is of: now's, or one beside it, as clocks differ. One that was used, or is before one that
// was, does not count (RFC 6238, section 5.2).
func totpStep(secret, code string, last int64, now time.Time) (step int64, ok bool) {
	current := now.Unix() / totpPeriod
	for step := current - 1; step <= current+1; step++ {
		want, err := totpCode(secret, step)
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > last {
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
