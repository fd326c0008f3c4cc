package auth

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"

	"example.com/groundwork/pkg/problem"
)

// hashing is argon2id with 19 MiB, two passes, one lane (OWASP ASVS 5.0, appendix C).
var hashing = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// hashWait is how long a request waits for its turn to hash. A hash takes about 20 ms.
const hashWait = 2 * time.Second

//go:embed common_passwords.txt
var commonList string // the most used ones of 8 characters and more, after the frequency list of zxcvbn (MIT)

var common = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(commonList) {
		set[strings.TrimSpace(line)] = true
	}
	return set
})

// checkPassword is the policy for a new password: long enough, and not one that everybody tries first. No rules of composition (NIST SP
// 800-63B-4, section 3.1.1.2).
func checkPassword(password string, minLength int) error {
	switch {
	case utf8.RuneCountInString(password) < minLength:
		return weak("minLength", "is too short")
	case common()[strings.ToLower(password)]:
		return weak("common", "is one of the most used passwords")
	case repeats(password):
		return weak("repeated", "is something short over and over")
	}
	return nil
}

// repeats reports whether the text is its own beginning again and again: a row of spaces, passwordpassword, 123412341234123.
func repeats(text string) bool {
	for n := 1; n <= len(text)/2; n++ {
		if text[n:] == text[:len(text)-n] {
			return true
		}
	}
	return false
}

func weak(code, detail string) error { return invalid("/password", code, detail) }

// invalid says that one part of the input is not allowed.
func invalid(pointer, code, detail string) error {
	return problem.Invalid.New("validation-failed", "Some of the input is not allowed.").With(problem.Field{Pointer: pointer, Code: code, Detail: detail})
}

// hasher hashes passwords, a few at a time: each takes 19 MiB while it runs.
type hasher struct {
	slots  chan struct{}
	nobody string       // compared with when there is no hash, so that an unknown address costs the same
	runs   atomic.Int64 // how often argon2id ran
}

func newHasher() *hasher {
	text := base64.RawStdEncoding.EncodeToString
	salt, key := make([]byte, hashing.SaltLength), make([]byte, hashing.KeyLength)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	_, _ = rand.Read(key)  // the hash of nothing that anybody knows
	return &hasher{
		slots:  make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		nobody: fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", hashing.Memory, hashing.Iterations, hashing.Parallelism, text(salt), text(key)),
	}
}

func (h *hasher) turn(ctx context.Context) (release func(), err error) {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, problem.Unavailable.New("overloaded", "Too many logins at once.")
	}
}

// run does something that takes the memory of a hash, in its turn.
func (h *hasher) run(ctx context.Context, f func() error) error {
	release, err := h.turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	h.runs.Add(1)
	return f()
}

func (h *hasher) hash(ctx context.Context, password string) (hash string, err error) {
	err = h.run(ctx, func() error {
		hash, err = argon2id.CreateHash(password, &hashing)
		return err
	})
	return hash, err
}

// matches compares a password with a hash, or with nothing at the same cost. stale says that the hash was made with other parameters.
func (h *hasher) matches(ctx context.Context, password, hash string) (ok, stale bool, err error) {
	known := hash != ""
	if !known {
		hash = h.nobody
	}
	err = h.run(ctx, func() error {
		var params *argon2id.Params
		if ok, params, err = argon2id.CheckHash(password, hash); err == nil {
			stale = *params != hashing
		}
		return err
	})
	return ok && known && err == nil, stale, err
}
