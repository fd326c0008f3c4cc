package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"example.com/groundwork/pkg/problem"
)

func TestCheckPassword(t *testing.T) {
	for _, c := range []struct {
		password string
		min      int
		code     string
	}{
		{"fourteen chars", 15, "minLength"},
		{"fifteen chars..", 15, ""},
		{"ääääääääääääää", 15, "minLength"}, // 14 characters in 28 bytes
		{"äöüßäöüßäöüßäöx", 15, ""},         // any characters
		{"ä ö ü ß é è ê ë", 15, ""},
		{"äääääääääääääää", 15, "repeated"},
		{"               ", 15, "repeated"},
		{"passwordpassword", 15, "repeated"},
		{"123412341234123", 15, "repeated"},
		{"1234abcd1234abc!", 15, ""},
		{"password", 8, "common"},
		{"PassWord", 8, "common"},
		{"1234567890", 8, "common"},
		{"correct horse", 8, ""},
		{" password", 8, ""}, // exactly as typed
	} {
		err := checkPassword(c.password, c.min)
		code := ""
		if err != nil {
			code = problem.From(err).Fields[0].Code
		}
		if code != c.code {
			t.Errorf("%q: %q, want %q", c.password, code, c.code)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%+v", problem.From(err)), c.password) {
			t.Errorf("the refusal of %q holds it", c.password)
		}
	}
}

// A long one, and what is like it: nothing of it is cut off, folded or trimmed.
func TestAPasswordCountsAsItWasTyped(t *testing.T) {
	h := newHasher()
	typed := " Straße " + strings.Repeat("and so on ", 10) + "to the End "
	if n := len([]rune(typed)); n < 100 || n > 128 || checkPassword(typed, 15) != nil {
		t.Fatalf("%d characters: %v", n, checkPassword(typed, 15))
	}
	hash, err := h.hash(t.Context(), typed)
	if err != nil {
		t.Fatal(err)
	}
	for says, p := range map[string]string{
		"": typed, "small letters": strings.ToLower(typed), "trimmed": strings.TrimSpace(typed), "folded": strings.ReplaceAll(typed, "ß", "ss"),
		"cut at 72 bytes": typed[:72], "cut at 64 bytes": typed[:64], "one less": typed[:len(typed)-1], "two spaces": strings.Replace(typed, "so on", "so  on", 1),
	} {
		if ok, _, err := h.matches(t.Context(), p, hash); err != nil || ok != (says == "") {
			t.Errorf("%q: %v %v", says, ok, err)
		}
	}
}

func TestTheListOfCommonPasswords(t *testing.T) {
	if n := len(common()); n < 2000 {
		t.Errorf("%d passwords", n)
	}
	for p := range common() {
		if p != strings.ToLower(p) || len([]rune(p)) < 8 {
			t.Errorf("%q is in vain: it is never looked up, or too short anyway", p)
		}
	}
}

// TestMain makes hashes cheap: the stories of this package take thousands, and are about other things than what one costs. It is as many hashes as
// it ever was, and what a real one costs is held in TestHashingCostsWhatItShould.
func TestMain(m *testing.M) {
	hashing.Memory = 64
	os.Exit(m.Run())
}

var costs = hashing // before TestMain

func TestHashingCostsWhatItShould(t *testing.T) {
	if costs.Memory != 19*1024 || costs.Iterations != 2 || costs.Parallelism != 1 || costs.SaltLength != 16 || costs.KeyLength != 32 {
		t.Errorf("%+v is not what OWASP ASVS 5.0, appendix C asks for", costs)
	}
}

func TestNobodyCostsAsMuchAsSomebody(t *testing.T) {
	h := newHasher()
	params, _, _, err := argon2id.DecodeHash(h.nobody)
	if err != nil || *params != hashing {
		t.Errorf("nobody is hashed with %+v: %v", params, err)
	}
	hash, err := h.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		password, hash string
		ok             bool
	}{{password, hash, true}, {password + " ", hash, false}, {password, "", false}, {"", "", false}} {
		before := h.runs.Load()
		ok, stale, err := h.matches(t.Context(), c.password, c.hash)
		if err != nil || ok != c.ok || stale || h.runs.Load()-before != 1 {
			t.Errorf("%q with %q: %t, stale %t, %v, %d hashes", c.password, c.hash, ok, stale, err, h.runs.Load()-before)
		}
	}
}

func TestAnOlderHashIsRenewedAtTheNextLogin(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	weaker := hashing
	weaker.Iterations = 1
	old, err := argon2id.CreateHash(password, &weaker)
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`update auth.passwords set hash = $1`, old)
	if r := w.login("ada@example.com", "wrong", "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("a wrong password: %d", r.StatusCode())
	}
	if one[string](w, `select hash from auth.passwords`) != old {
		t.Error("a wrong password renewed the hash")
	}
	w.session("ada@example.com")
	if hash := one[string](w, `select hash from auth.passwords`); !strings.HasPrefix(hash, fmt.Sprintf("$argon2id$v=19$m=%d,t=2,p=1$", hashing.Memory)) {
		t.Errorf("the hash is %s", hash)
	}
	w.session("ada@example.com")
}

func TestFailedLoginsLookAndCostTheSame(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.person("bob@example.com")
	w.exec(`update auth.identities set status = 'disabled' where email_index = (select email_index from auth.identities order by id desc limit 1)`)
	w.register("eve@example.com", password) // not confirmed
	looks := map[string]string{}
	for _, c := range []struct{ says, email, password string }{
		{"an unknown address", "nobody@example.com", password},
		{"a wrong password", "ada@example.com", password + "!"},
		{"a disabled account", "bob@example.com", password},
		{"an address that is not confirmed", "eve@example.com", password},
		{"an empty-looking password", "ada@example.com", " "},
	} {
		before := w.hasher.runs.Load()
		r := w.login(c.email, c.password, "192.0.2.1")
		if runs := w.hasher.runs.Load() - before; runs != 1 {
			t.Errorf("%s costs %d hashes", c.says, runs)
		}
		if r.StatusCode() != 401 || r.ApplicationproblemJSONDefault.Code != "invalid-credentials" || r.HTTPResponse.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", c.says, r.StatusCode(), r.Body)
		}
		looks[look(r.StatusCode(), r.HTTPResponse.Header, r.Body)] += c.says + ", "
	}
	if len(looks) != 1 {
		t.Errorf("they can be told apart: %v", looks)
	}
	if n := one[int](w, `select count(*) from auth.sessions`); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestWhoGuessesWaitsLongerAndLonger(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	now := time.Now()
	w.redis.SetTime(now)
	guess := func(email, password, from string) (status, wait int) {
		t.Helper()
		r := w.login(email, password, from)
		wait, _ = strconv.Atoi(r.HTTPResponse.Header.Get("Retry-After"))
		return r.StatusCode(), wait
	}
	for _, email := range []string{"ada@example.com", "nobody@example.com"} { // the same for an address that is not there
		for n := range 5 {
			if status, _ := guess(email, "wrong", "192.0.2.1"); status != 401 {
				t.Errorf("%s, failure %d: %d", email, n+1, status)
			}
		}
		for _, want := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			before := w.hasher.runs.Load()
			if status, wait := guess(email, password, "192.0.2.99"); status != 429 || wait != want {
				t.Errorf("%s, the right password during the wait, from the same network: %d, wait %d s, want %d", email, status, wait, want)
			}
			if w.hasher.runs.Load() != before {
				t.Error("a refused login is hashed")
			}
			now = now.Add(time.Duration(want) * time.Second)
			w.redis.SetTime(now)
			if status, _ := guess(email, "wrong", "192.0.2.1"); status != 401 {
				t.Errorf("%s, after a wait of %d s: %d", email, want, status)
			}
		}
	}
	if status, _ := guess("ada@example.com", password, "198.51.100.1"); status != 200 {
		t.Errorf("the owner from elsewhere: %d", status)
	}
	now = now.Add(time.Minute)
	w.redis.SetTime(now)
	if status, _ := guess("ada@example.com", password, "192.0.2.1"); status != 200 {
		t.Errorf("the right password after the wait: %d", status)
	}
	for range 4 {
		if status, _ := guess("ada@example.com", "wrong", "192.0.2.1"); status != 401 {
			t.Errorf("after a success the count starts anew: %d", status)
		}
	}
}

func TestManyNetworksTogetherAreSlowedDown(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.noWaitEnds()
	for n := range 20 {
		if r := w.login("ada@example.com", "wrong", fmt.Sprintf("192.0.%d.1", n)); r.StatusCode() != 401 {
			t.Fatalf("failure %d: %d", n+1, r.StatusCode())
		}
	}
	if r := w.login("ada@example.com", password, "198.51.100.1"); r.StatusCode() != 429 {
		t.Errorf("after 20 failures from everywhere: %d", r.StatusCode())
	}
}

func TestWithRedisAwayGuessersWaitSooner(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.redis.Close()
	free := 0 // five with Redis; the waits after two are 1, 2 and 4 s of this machine's clock
	for free < 5 && w.login("ada@example.com", "wrong", "192.0.2.1").StatusCode() == 401 {
		free++
	}
	if free < 2 || free == 5 {
		t.Errorf("after %d failures one waits", free)
	}
	if r := w.login("ada@example.com", password, "198.51.100.1"); r.StatusCode() != 200 {
		t.Errorf("from elsewhere: %d", r.StatusCode())
	}
}

// Two hundred who log in at once take the memory of a few: each costs one hash at the most, in its turn, and who gets none is told to come again.
func TestTwoHundredLoginsAtOnce(t *testing.T) {
	w := newWorld(t)
	before := w.hasher.runs.Load()
	var refused, sent atomic.Int64
	var all sync.WaitGroup
	for n := range 200 {
		all.Go(func() {
			switch r := w.login(fmt.Sprintf("somebody-%d@example.com", n), password, fmt.Sprintf("198.51.%d.1", n)); r.StatusCode() {
			case 401:
				refused.Add(1)
			case 503:
				sent.Add(1)
			default:
				t.Errorf("%d %s", r.StatusCode(), r.Body)
			}
		})
	}
	all.Wait()
	if runs := w.hasher.runs.Load() - before; runs < refused.Load() || runs > 200 || refused.Load()+sent.Load() != 200 || refused.Load() == 0 {
		t.Errorf("%d hashes for %d who were refused and %d who were sent away", runs, refused.Load(), sent.Load())
	}
	if len(w.hasher.slots) != 0 {
		t.Errorf("%d slots are taken for ever", len(w.hasher.slots))
	}
}

// Two for each processor run at once, which is 38 MiB, and no more whatever comes.
func TestTooManyHashesAtOnce(t *testing.T) {
	w := newWorld(t)
	for n := range 2 * runtime.GOMAXPROCS(0) {
		select {
		case w.hasher.slots <- struct{}{}:
		default:
			t.Fatalf("%d at once", n)
		}
	}
	for says, r := range map[string]interface {
		StatusCode() int
		GetBody() []byte
	}{
		"login":    w.login("ada@example.com", password, "192.0.2.1"),
		"register": w.register("ada@example.com", password),
	} {
		if r.StatusCode() != 503 || !strings.Contains(string(r.GetBody()), `"code":"overloaded"`) {
			t.Errorf("%s: %d %s", says, r.StatusCode(), r.GetBody())
		}
	}
	if runs := w.hasher.runs.Load(); runs != 0 {
		t.Errorf("%d hashes without a turn", runs)
	}
	<-w.hasher.slots
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("with a free slot: %d", r.StatusCode())
	}
	if free := cap(w.hasher.slots) - len(w.hasher.slots); free != 1 {
		t.Errorf("%d slots are free after the login", free)
	}
}

// Whoever hashes has a turn while it lasts: what all hashes take together is bounded by how many turns there are.
func TestAHashHoldsItsTurn(t *testing.T) {
	h := newHasher()
	err := h.run(t.Context(), func() error {
		if len(h.slots) != 1 {
			t.Errorf("%d turns are taken while one hashes", len(h.slots))
		}
		return nil
	})
	if err != nil || len(h.slots) != 0 {
		t.Errorf("%v, %d turns are taken afterwards", err, len(h.slots))
	}
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.hash(ctx, password); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hashing without a turn: %v", err)
	}
	if _, _, err := h.matches(ctx, password, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("comparing without a turn: %v", err)
	}
}
