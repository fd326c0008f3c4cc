package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwk"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

func TestWhenSigningKeysComeAndGo(t *testing.T) {
	now := time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		says    string
		active  []time.Duration // how long each key has been, newest first
		signs   int             // which of them, or -1
		nextDue bool
		gone    []int
	}{
		{"none", nil, -1, false, nil},
		{"the first", []time.Duration{0}, 0, false, nil},
		{"one of 90 days, less a moment", []time.Duration{90*day - 1}, 0, false, nil},
		{"one of 90 days", []time.Duration{90 * day}, 0, true, nil},
		{"one that is far too old", []time.Duration{900 * day}, 0, true, nil},
		{"the next is published", []time.Duration{-day, 90 * day}, 1, false, nil},
		{"the next signs in a moment", []time.Duration{-1, 91 * day}, 1, false, nil},
		{"the next signs", []time.Duration{0, 91 * day}, 0, false, nil},
		{"the next has signed for an hour, less a moment", []time.Duration{time.Hour - 1, 91 * day}, 0, false, nil},
		{"the next has signed for an hour", []time.Duration{time.Hour, 91 * day}, 0, false, []int{1}},
		{"two that nobody deleted", []time.Duration{day, 91 * day, 182 * day}, 0, false, []int{1, 2}},
		{"one was made by hand in between", []time.Duration{-day, 10 * time.Minute, 91 * day, 182 * day}, 1, false, []int{3}},
	} {
		var keys []signingKey
		for i, ago := range c.active {
			keys = append(keys, signingKey{ID: uuid.UUID{byte(i + 1)}, ActiveAt: now.Add(-ago)})
		}
		signs := -1
		if k, ok := signer(keys, now); ok {
			signs = int(k.ID[0]) - 1
		}
		var gone []int
		for _, id := range outlived(keys, now) {
			gone = append(gone, int(id[0])-1)
		}
		if signs != c.signs || nextDue(keys, now) != c.nextDue || !slices.Equal(gone, c.gone) {
			t.Errorf("%s: key %d signs, another is due: %t, and %v go; want %d, %t, %v", c.says, signs, nextDue(keys, now), gone, c.signs, c.nextDue, c.gone)
		}
	}
}

// gapless is auth and those who verify its tokens, under the clock of a synctest: several instances, of which each keeps a copy of the keys,
// on one table.
type gapless struct {
	t         *testing.T
	table     []signingKey // newest first
	instances []*keyring
	verifiers map[string]*authn.Verifier
	tokens    map[string]time.Time // not expired yet: when they do
	signers   []string             // in the order in which they came
}

func (g *gapless) add(activeAt time.Time) {
	g.t.Helper()
	id := uuid.Must(uuid.NewV7())
	private, public, err := newPair(id)
	if err != nil {
		g.t.Fatal(err)
	}
	key := signingKey{ID: id, PublicJWK: public, ActiveAt: activeAt}
	if key.private, err = jwk.ParseKey(private); err != nil {
		g.t.Fatal(err)
	}
	g.table = append([]signingKey{key}, g.table...)
}

// job is what keyring.rotate does, on this table.
func (g *gapless) job() {
	now := time.Now()
	if nextDue(g.table, now) {
		g.add(now.Add(publishedFor))
	}
	gone := outlived(g.table, now)
	g.table = slices.DeleteFunc(slices.Clone(g.table), func(k signingKey) bool { return slices.Contains(gone, k.ID) })
}

func (g *gapless) verifier(k *keyring) *authn.Verifier {
	return authn.NewVerifier(issuer, "http://auth/.well-known/jwks.json", &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		keys, err := k.published(r.Context())
		set := map[string][]authv1.Jwk{"keys": {}}
		for _, key := range keys {
			set["keys"] = append(set["keys"], key.PublicJWK)
		}
		answer := httptest.NewRecorder()
		err = errors.Join(err, json.NewEncoder(answer).Encode(set))
		return answer.Result(), err
	})})
}

// step lets every instance sign, and every verifier check all that is not expired.
func (g *gapless) step() {
	g.t.Helper()
	now := time.Now()
	for _, k := range g.instances {
		token, err := k.sign(g.t.Context(), (&Module{config: Config{Issuer: issuer}}).claims("users", "users", nil, now))
		if err != nil {
			g.t.Fatal(err)
		}
		g.tokens[token] = now.Add(accessLifetime)
		if id := kidOf(g.t, token); !slices.Contains(g.signers, id) {
			g.signers = append(g.signers, id)
		}
	}
	g.verifiers["a process that just started"] = g.verifier(g.instances[1])
	for token, expires := range g.tokens {
		if now.After(expires) {
			delete(g.tokens, token)
			continue
		}
		for who, v := range g.verifiers {
			if _, err := v.Verify(g.t.Context(), token); err != nil {
				g.t.Fatalf("at %s, %s before it expires: %s refuses a token: %v", now, expires.Sub(now), who, err)
			}
		}
	}
}

func TestRotatingSigningKeysLeavesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gapless{t: t, verifiers: map[string]*authn.Verifier{}, tokens: map[string]time.Time{}}
		for range 2 {
			k := newKeyring(nil, nil)
			k.load = func(context.Context) ([]signingKey, error) { return g.table, nil }
			g.instances = append(g.instances, k)
		}
		g.verifiers["a process that runs for long"] = g.verifier(g.instances[0])
		g.verifiers["one beside it"] = g.verifier(g.instances[1])
		g.add(time.Now())
		// Between the moments at which something happens, days pass.
		begin := time.Now()
		due := begin
		for range 2 {
			due = due.Add(signingAge)
			for _, moment := range []time.Time{due, due.Add(publishedFor), due.Add(publishedFor + retiredFor)} {
				time.Sleep(time.Until(moment.Add(-10 * time.Minute)))
				// The instances read the keys at different times, so that for a while one knows what the other does not.
				if _, err := g.instances[0].published(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second)
				for range 25 * 60 / 20 {
					g.step()
					g.job() // in fact less often
					time.Sleep(20 * time.Second)
				}
			}
			due = due.Add(publishedFor)
		}
		if len(g.signers) != 3 || len(g.table) != 1 {
			t.Errorf("%d keys have signed and %d are left, want 3 and 1", len(g.signers), len(g.table))
		}
	})
}

func TestTheJobRotatesSigningKeys(t *testing.T) {
	w := newWorld(t)
	old := w.consoleToken()
	published := func() (ids []string) {
		t.Helper()
		w.signing.read = time.Time{} // a minute later
		r, err := w.public.GetJwksWithResponse(t.Context())
		if err != nil || r.JSON200 == nil {
			t.Fatalf("%v %s", err, r.Body)
		}
		for _, k := range r.JSON200.Keys {
			ids = append(ids, k.Kid)
		}
		return ids
	}
	works := func() {
		t.Helper()
		if err := (&rotateKeys{m: w.Module}).Work(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	first := published()
	works()
	if got := published(); !slices.Equal(got, first) {
		t.Errorf("before its time %v has become %v", first, got)
	}
	w.exec(`update auth.signing_keys set active_at = now() - interval '90 days'`)
	works()
	works()
	two := published()
	if len(two) != 2 || two[1] != first[0] {
		t.Fatalf("after 90 days the keys are %v", two)
	}
	if ahead := one[time.Duration](w, `select max(active_at) - now() from auth.signing_keys`); ahead < 23*time.Hour || ahead > 24*time.Hour {
		t.Errorf("the next key signs in %s", ahead)
	}
	if kid := kidOf(t, w.consoleToken()); kid != first[0] {
		t.Errorf("%s signs before its time", kid)
	}
	w.exec(`update auth.signing_keys set active_at = active_at - interval '24 hours'`)
	works()
	published()
	token := w.consoleToken()
	if kid := kidOf(t, token); kid != two[0] {
		t.Errorf("%s signs, want %s", kid, two[0])
	}
	for _, access := range []string{old, token} {
		if r := putV2(w.another(), access, "ada@example.com", password, true, "user"); r.status/100 != 2 {
			t.Errorf("a token of %s: %d", kidOf(t, access), r.status)
		}
	}
	w.exec(`update auth.signing_keys set active_at = active_at - interval '1 hour'`)
	works()
	if got := published(); !slices.Equal(got, two[:1]) {
		t.Errorf("an hour later the keys are %v, want %v", got, two[:1])
	}
}

func TestASigningKeyOnDemand(t *testing.T) {
	w := newWorld(t)
	for n, i := range []*instance{w.instance, w.another()} {
		did, err := i.RotateKeys(t.Context())
		if err != nil || len(did) != 2 || !strings.HasPrefix(did[0], "data key ") || !strings.HasPrefix(did[1], "signing key ") {
			t.Fatalf("%v %v", did, err)
		}
		if count := one[int](w, `select count(*) from auth.signing_keys`); count != 2 {
			t.Errorf("%d signing keys after %d rotations, want the first and one that waits", count, n+1)
		}
	}
	if n := one[int](w, `select count(*) from auth.signing_keys where active_at > now() + interval '23 hours'`); n != 1 {
		t.Errorf("%d keys wait", n)
	}
}

// Who forgets a column here leaves its rows under the old key for ever.
func TestEverySealedColumnIsSealedAgain(t *testing.T) {
	w := newWorld(t)
	var listed []string
	for _, c := range sealed {
		listed = append(listed, c.Table+"."+c.Name)
	}
	slices.Sort(listed)
	if want := one[[]string](w, `
		select array_agg(table_name || '.' || column_name order by table_name, column_name) from information_schema.columns
		where table_schema = 'auth' and column_name like '%\_ct'`); !slices.Equal(listed, want) {
		t.Errorf("sealed lists %v, the schema has %v", listed, want)
	}
}

func TestTheDataKeyRotatesUnderAStory(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.register("new@example.com", password)
	tokens := w.session("ada@example.com")
	before := w.another()
	before.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret)
	var all []string
	for _, c := range sealed {
		all = append(all, "select "+c.Name+" as ct from auth."+c.Table+" where "+c.Name+" is not null")
	}
	rows := strings.Join(all, " union all ")
	keys := func() string {
		return one[string](w, `select string_agg(distinct encode(substring(ct from 1 for 5), 'hex'), ' ') from (`+rows+`) cts`)
	}
	works := func() {
		t.Helper()
		if err := (&rotateKeys{m: w.Module}).Work(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	old := keys()
	if _, err := w.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	works()
	if got := keys(); got != old {
		t.Errorf("before it settled the rows are under %s", got)
	}
	w.exec(`update auth.keysets set changed_at = changed_at - interval '2 minutes'`)
	works()
	if got := keys(); got == old || len(got) != len(old) {
		t.Errorf("the rows are under %s, all were under %s", got, old)
	}
	list, err := w.KeyStatus(t.Context())
	if said := fmt.Sprint(list); err != nil || len(list) != 2 || list[0].State != "old" || list[0].Rows != 0 || list[1].State != "primary" ||
		list[1].Rows != one[int64](w, `select count(*) from (`+rows+`) cts`) || list[1].Rows < 5 {
		t.Errorf("the status is %s, %v", said, err)
	}
	// Whoever was there goes on, and the mail of a registration from before goes out.
	next := w.another()
	w.works(next)
	if status := next.verify(w.mailed("new@example.com", 1).Token); status != 204 {
		t.Errorf("confirming: %d", status)
	}
	for _, i := range []*instance{w.instance, before, next} {
		i.signing.read = time.Time{}
		i.session("ada@example.com")
	}
	if _, status := before.refresh(*tokens.RefreshToken); status != 200 {
		t.Errorf("refreshing: %d", status)
	}
}

// kidOf is the id of the key that signed a token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	var header struct {
		KeyID string `json:"kid"`
	}
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil {
		t.Fatal(err)
	}
	return header.KeyID
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What docs/keys.md says to do when keys were stolen: nothing that they made or make counts, and people come in as before.
func TestAfterKeysWereStolen(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	before := w.session("ada@example.com")
	stolen, err := w.signing.sign(t.Context(), w.claims("console", "console", []string{"identities:write", "internal"}, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`delete from auth.keysets where name in ('mac', 'derive'); delete from auth.signing_keys`)
	w.instance = w.another()
	if tokens := w.session("ada@example.com"); tokens.RefreshToken == nil {
		t.Error("no login")
	} else if _, status := w.refresh(*tokens.RefreshToken); status != 200 {
		t.Errorf("a new session: %d", status)
	}
	if _, status := w.refresh(*before.RefreshToken); status != 400 {
		t.Errorf("a refresh token from before: %d", status)
	}
	for says, token := range map[string]string{"an access token from before": before.AccessToken, "one that a thief has signed": stolen} {
		if _, err := w.verifier.Verify(t.Context(), token); !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// Of two who rotate at once the second one finds that the first was there, and loses none of its keys.
func TestAKeysetIsReplacedOnce(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com") // whose address is sealed
	table := seal.Table(w.db.Pool("auth"))
	is, _, err := table.Keyset(t.Context(), "data")
	if err != nil || is == nil {
		t.Fatalf("%v %x", err, is)
	}
	for _, c := range []struct {
		old  []byte
		want bool
	}{{is, true}, {is, false}} {
		if did, err := table.ReplaceKeyset(t.Context(), "data", c.old, []byte("another")); err != nil || did != c.want {
			t.Errorf("%v %v, want %v", did, err, c.want)
		}
	}
}
