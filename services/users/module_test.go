package users_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/servertest"
	"example.com/groundwork/services/users"
)

// world is a database and a Redis with instances of the module on them.
type world struct {
	t     *testing.T
	db    *pgtest.DB
	redis *miniredis.Miniredis
	// only with auth:
	trail trail
	// end auth
	*servertest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, db: pgtest.New(t), redis: miniredis.RunT(t)}
	w.Server = w.instance()
	return w
}

// instance starts one more process, as it were, on the same Postgres and Redis.
func (w *world) instance() *servertest.Server {
	w.t.Helper()
	redis, err := cache.Connect("redis://" + w.redis.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = redis.Close() })
	kek, err := seal.KeyEncryptionKey(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := users.New(w.db.Pool("users"), redis, kek,
		// only with auth:
		w.authModule(),
		// end auth
		slog.New(slog.NewJSONHandler(w.t.Output(), nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return servertest.New(w.t, servertest.Module{Specs: [][]byte{usersv1.Spec}, Routes: m.Routes})
}

func (w *world) client(s *servertest.Server, p authn.Principal) *caller {
	w.t.Helper()
	c, err := usersv1.NewClientWithResponses(s.URL, usersv1.WithHTTPClient(s.As(p)))
	if err != nil {
		w.t.Fatal(err)
	}
	return &caller{w.t, c}
}

func (w *world) person(id uuid.UUID) *caller { return w.personAt(w.Server, id) }

func (w *world) personAt(s *servertest.Server, id uuid.UUID) *caller {
	return w.client(s, authn.Principal{UserID: id, Scopes: []string{"profile:read", "profile:write"}})
}

func (w *world) auth() *caller {
	return w.client(w.Server, authn.Principal{Subject: "auth", ClientID: "auth", Scopes: []string{"internal", "profile:read"}})
}

// caller is somebody with a client.
type caller struct {
	t *testing.T
	*usersv1.ClientWithResponses
}

func (c *caller) provisions(id uuid.UUID, email string, version int64) {
	c.t.Helper()
	r, err := c.ProvisionUserWithResponse(c.t.Context(), id, usersv1.Provision{Email: email, AuthVersion: version})
	if err != nil || r.StatusCode() != 204 {
		c.t.Fatalf("provisioning: %v %s", err, r.GetBody())
	}
}

func (c *caller) reads() (usersv1.User, string) {
	c.t.Helper()
	r, err := c.GetMeWithResponse(c.t.Context(), nil)
	if err != nil || r.JSON200 == nil {
		c.t.Fatalf("reading: %v %s", err, r.GetBody())
	}
	return *r.JSON200, r.Headers200.ETag
}

func (c *caller) patches(tag string, p usersv1.UserPatch) *usersv1.UpdateMeResponse {
	c.t.Helper()
	r, err := c.UpdateMeWithApplicationMergePatchPlusJSONBodyWithResponse(c.t.Context(), &usersv1.UpdateMeParams{IfMatch: tag}, p)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func text(s string) nullable.Nullable[string] { return nullable.NewNullableWithValue(s) }

func empty() nullable.Nullable[string] { return nullable.NewNullNullable[string]() }

func is(n nullable.Nullable[string], want string) bool {
	got, err := n.Get()
	return err == nil && got == want
}

func TestTheStoryOfAProfile(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	ada, auth := w.person(id), w.auth()

	early, err := ada.GetMeWithResponse(t.Context(), nil)
	if err != nil || early.StatusCode() != 404 || early.HTTPResponse.Header.Get("Retry-After") != "1" {
		t.Fatalf("before it is provisioned: %d, Retry-After %q", early.StatusCode(), early.HTTPResponse.Header.Get("Retry-After"))
	}
	if r := ada.patches("*", usersv1.UserPatch{Name: text("Ada")}); r.StatusCode() != 404 {
		t.Errorf("a change before it is provisioned: %d", r.StatusCode())
	}

	auth.provisions(id, "Ada@example.com", 1)
	me, tag := ada.reads()
	if me.Id != id || me.Email != "Ada@example.com" || !me.Name.IsNull() || !me.Locale.IsNull() || me.CreatedAt.Location().String() != "UTC" {
		t.Errorf("the profile is %+v", me)
	}
	same, err := ada.GetMeWithResponse(t.Context(), &usersv1.GetMeParams{IfNoneMatch: &tag})
	if err != nil || same.StatusCode() != 304 || same.Headers304.ETag != tag {
		t.Errorf("unchanged: %d", same.StatusCode())
	}

	named := ada.patches(tag, usersv1.UserPatch{Name: text("Ada"), Locale: text("en-GB")})
	if named.JSON200 == nil || !is(named.JSON200.Name, "Ada") || named.Headers200.ETag == tag {
		t.Fatalf("naming: %s", named.Body)
	}
	if changed, _ := ada.GetMeWithResponse(t.Context(), &usersv1.GetMeParams{IfNoneMatch: &tag}); changed.JSON200 == nil || !is(changed.JSON200.Name, "Ada") {
		t.Errorf("reading one's own change: %s", changed.Body)
	}
	if stale := ada.patches(tag, usersv1.UserPatch{Name: text("Eve")}); stale.StatusCode() != 412 || stale.ApplicationproblemJSONDefault.Code != "precondition-failed" {
		t.Errorf("with an old ETag: %s", stale.Body)
	}
	kept := ada.patches(named.Headers200.ETag, usersv1.UserPatch{Locale: empty()})
	if kept.JSON200 == nil || !is(kept.JSON200.Name, "Ada") || !kept.JSON200.Locale.IsNull() {
		t.Fatalf("the absent stays and null empties: %s", kept.Body)
	}
	nameless := ada.patches(kept.Headers200.ETag, usersv1.UserPatch{Name: empty()})
	if nameless.JSON200 == nil || !nameless.JSON200.Name.IsNull() {
		t.Errorf("null empties the name: %s", nameless.Body)
	}
	ada.reads() // so that it is cached

	auth.provisions(id, "ada@example.org", 2)
	if moved, movedTag := ada.reads(); moved.Email != "ada@example.org" || movedTag == nameless.Headers200.ETag {
		t.Errorf("after a new address: %+v, ETag %s", moved, movedTag)
	}
	if r, err := auth.GetUserWithResponse(t.Context(), id); err != nil || r.JSON200 == nil || r.JSON200.Email != "ada@example.org" {
		t.Errorf("a module reads %s", r.Body)
	}
	if r, err := auth.GetUserWithResponse(t.Context(), uuid.New()); err != nil || r.StatusCode() != 404 {
		t.Errorf("a module reads nobody: %d", r.StatusCode())
	}
	if r, err := auth.GetMeWithResponse(t.Context(), nil); err != nil || r.StatusCode() != 404 {
		t.Errorf("a module's own profile: %d", r.StatusCode())
	}
}

func TestProvisioningMayBeRepeatedReorderedAndRaced(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	ada, auth := w.person(id), w.auth()
	auth.provisions(id, "third@example.com", 3)
	_, tag := ada.reads()
	auth.provisions(id, "first@example.com", 1)
	auth.provisions(id, "third@example.com", 3)
	if me, now := ada.reads(); me.Email != "third@example.com" || now != tag {
		t.Errorf("late and repeated provisioning changed it to %s, ETag %s", me.Email, now)
	}

	other := uuid.Must(uuid.NewV7())
	var all sync.WaitGroup
	for version := range int64(8) {
		all.Go(func() { auth.provisions(other, "v"+string(rune('1'+version))+"@example.com", version+1) })
		all.Go(func() { _, _ = w.person(other).GetMeWithResponse(t.Context(), nil) })
	}
	all.Wait()
	if me, _ := w.person(other).reads(); me.Email != "v8@example.com" {
		t.Errorf("after the race the address is %s, want the newest", me.Email)
	}
}

func TestOfTwoChangesBasedOnTheSameVersionOneWins(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	w.auth().provisions(id, "ada@example.com", 1)
	ada := w.person(id)
	_, tag := ada.reads()

	// While the row is locked everybody reads the same version, and waits to write.
	owner := w.db.Owner()
	tx, err := owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from users.users where id = $1 for update`, id); err != nil {
		t.Fatal(err)
	}
	var won, lost atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch r := ada.patches(tag, usersv1.UserPatch{Name: text("Ada")}); r.StatusCode() {
			case 200:
				won.Add(1)
			case 412:
				lost.Add(1)
			default:
				t.Errorf("a change answers %s", r.Body)
			}
		})
	}
	for waiting, end := 0, time.Now().Add(time.Second); waiting < 8 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := tx.QueryRow(t.Context(), `select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())
			or not granted and locktype = 'transactionid' and transactionid = pg_current_xact_id()::xid`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d changes won and %d lost, want 1 and 7", won.Load(), lost.Load())
	}
}

func TestAChangeInOneProcessIsReadInTheOther(t *testing.T) {
	w := newWorld(t)
	id, second := uuid.Must(uuid.NewV7()), w.instance()
	w.auth().provisions(id, "ada@example.com", 1)
	here, there := w.person(id), w.personAt(second, id)
	_, tag := here.reads()
	there.reads()
	if w.db.Owner().QueryRow(t.Context(), `update users.users set locale = 'fr' where id = $1 returning locale`, id).Scan(new(string)) != nil {
		t.Fatal("cannot change the row")
	}
	if me, _ := there.reads(); !me.Locale.IsNull() {
		t.Error("the profile is not cached: a change behind its back is read")
	}
	here.patches(tag, usersv1.UserPatch{Name: text("Ada")})
	if me, _ := there.reads(); !is(me.Name, "Ada") || !is(me.Locale, "fr") {
		t.Errorf("the other process reads %+v", me)
	}
}

func TestWithRedisAwayTheDatabaseAnswers(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	w.redis.Close()
	w.auth().provisions(id, "ada@example.com", 1)
	ada := w.person(id)
	_, tag := ada.reads()
	if r := ada.patches(tag, usersv1.UserPatch{Name: text("Ada")}); r.StatusCode() != 200 {
		t.Errorf("a change: %s", r.Body)
	}
	if me, _ := ada.reads(); !is(me.Name, "Ada") {
		t.Errorf("read %+v", me)
	}
}

func TestAnotherPersonsProfileIsNeverRead(t *testing.T) {
	w := newWorld(t)
	adaID, bobID := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	w.auth().provisions(adaID, "ada@example.com", 1)
	w.auth().provisions(bobID, "bob@example.com", 1)
	ada, bob := w.person(adaID), w.person(bobID)
	_, tag := ada.reads()
	if r := bob.patches(tag, usersv1.UserPatch{Name: text("Bob")}); r.JSON200 == nil || r.JSON200.Id != bobID {
		t.Errorf("Bob's change: %s", r.Body)
	}
	if me, now := ada.reads(); me.Id != adaID || !me.Name.IsNull() || now != tag {
		t.Errorf("Bob's change reached Ada: %+v", me)
	}
	if r, err := bob.GetUserWithResponse(t.Context(), adaID); err != nil || r.StatusCode() != 403 {
		t.Errorf("Bob reads Ada: %d %s", r.StatusCode(), r.Body)
	}
	if r, err := bob.ProvisionUserWithResponse(t.Context(), bobID, usersv1.Provision{Email: "ada@example.com", AuthVersion: 9}); err != nil || r.StatusCode() != 403 {
		t.Errorf("Bob provisions himself: %d %s", r.StatusCode(), r.Body)
	}

	// Whoever can write to the table cannot have Ada's address answered to Bob.
	w.redis.FlushAll()
	if _, err := w.db.Owner().Exec(t.Context(), `update users.users set email_ct = (select email_ct from users.users where id = $1) where id = $2`, adaID, bobID); err != nil {
		t.Fatal(err)
	}
	if r, err := bob.GetMeWithResponse(t.Context(), nil); err != nil || r.StatusCode() != 500 || bytes.Contains(r.Body, []byte("ada@")) {
		t.Errorf("with Ada's ciphertext in his row Bob reads %d %s", r.StatusCode(), r.Body)
	}
}

func TestWhatNamesAPersonIsSealedWhereverItIsKept(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	const address, name = "marker-address@example.com", "Marker-Name"
	w.auth().provisions(id, address, 1)
	ada := w.person(id)
	_, tag := ada.reads()
	ada.patches(tag, usersv1.UserPatch{Name: text(name)})
	ada.reads()

	var row string
	if err := w.db.Owner().QueryRow(t.Context(), `select u::text from users.users u where id = $1`, id).Scan(&row); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{"the table": row}
	for _, key := range w.redis.Keys() {
		d := w.redis.HGet(key, "d")
		var fields map[string]any
		if err := json.Unmarshal([]byte(d), &fields); err != nil {
			t.Fatalf("Redis keeps %q: %v", d, err)
		}
		for field, value := range fields {
			s, _ := value.(string)
			plain, _ := base64.StdEncoding.DecodeString(s)
			kept["Redis, "+field] = s + " " + string(plain)
		}
	}
	if len(kept) < 5 {
		t.Fatalf("Redis keeps no profile: %v", kept)
	}
	for where, s := range kept {
		for _, marker := range []string{"marker-address", "Marker-Name"} {
			if strings.Contains(s, marker) || strings.Contains(s, hex.EncodeToString([]byte(marker))) {
				t.Errorf("%s holds %q: %s", where, marker, s)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	id := uuid.Must(uuid.NewV7())
	w.auth().provisions(id, "ada@example.com", 1)
	_, tag := w.person(id).reads()
	reader := authn.Principal{UserID: id, Scopes: []string{"profile:read"}}
	writer := authn.Principal{UserID: id, Scopes: []string{"profile:write"}}
	auth := authn.Principal{Subject: "auth", Scopes: []string{"internal"}}
	patch := map[string]string{"Content-Type": "application/merge-patch+json", "If-Match": tag}
	put := map[string]string{"Content-Type": "application/json"}
	for _, c := range []struct {
		says         string
		as           *http.Client
		method, path string
		header       map[string]string
		body         string
		status       int
		code         string
	}{
		{"nobody reads", w.Anonymous(), "GET", "/v1/users/me", nil, "", 401, "unauthenticated"},
		{"a token without the scope does not read", w.As(writer), "GET", "/v1/users/me", nil, "", 403, "insufficient-scope"},
		{"a reader does not write", w.As(reader), "PATCH", "/v1/users/me", patch, `{"name":"x"}`, 403, "insufficient-scope"},
		{"a change without If-Match", w.As(writer), "PATCH", "/v1/users/me", map[string]string{"Content-Type": "application/merge-patch+json"}, `{"name":"x"}`, 428, "precondition-required"},
		{"a weak ETag", w.As(writer), "PATCH", "/v1/users/me", map[string]string{"Content-Type": "application/merge-patch+json", "If-Match": "W/" + tag}, `{"name":"x"}`, 412, "precondition-failed"},
		{"plain JSON for a merge patch", w.As(writer), "PATCH", "/v1/users/me", map[string]string{"Content-Type": "application/json", "If-Match": tag}, `{"name":"x"}`, 415, "unsupported-media-type"},
		{"an empty patch", w.As(writer), "PATCH", "/v1/users/me", patch, `{}`, 422, "validation-failed"},
		{"a field that is not one's own to change", w.As(writer), "PATCH", "/v1/users/me", patch, `{"email":"eve@example.com"}`, 422, "validation-failed"},
		{"a blank name", w.As(writer), "PATCH", "/v1/users/me", patch, `{"name":"  "}`, 422, "validation-failed"},
		{"no language tag", w.As(writer), "PATCH", "/v1/users/me", patch, `{"locale":"en_GB"}`, 422, "validation-failed"},
		{"provisioning what is no address", w.As(auth), "PUT", "/v1/users/" + id.String(), put, `{"email":"nope","auth_version":2}`, 422, "validation-failed"},
		{"provisioning without a version", w.As(auth), "PUT", "/v1/users/" + id.String(), put, `{"email":"a@example.com"}`, 422, "validation-failed"},
		{"an id that is none", w.As(auth), "GET", "/v1/users/ada", nil, "", 400, "invalid-parameter"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, w.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range c.header {
			request.Header.Set(name, value)
		}
		response, err := c.as.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		var problem usersv1.Problem
		if err := json.Unmarshal(body, &problem); err != nil || response.StatusCode != c.status || problem.Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.says, response.StatusCode, body, c.status, c.code)
		}
	}
	if me, now := w.person(id).reads(); now != tag || me.Email != "ada@example.com" {
		t.Errorf("something that was refused changed the profile: %+v", me)
	}
}
