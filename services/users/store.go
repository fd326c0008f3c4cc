package users

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oapi-codegen/nullable"
	"github.com/redis/go-redis/v9"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// columns are those of a user, in every statement that answers one.
const columns = `id, email_ct, name_ct, locale, status, version, created_at`

// sealed is where ciphertexts stand; another column of them wants a line here, and an index as these have.
var sealed = []seal.Column{{Table: "users", ID: "id", Name: "email_ct"}, {Table: "users", ID: "id", Name: "name_ct"}}

// user is a profile as it is kept. It goes to the cache as it stands: what names a person is sealed here already, and bound to its row,
// so the cache needs no keys and a mixed-up entry does not open.
type user struct {
	ID        uuid.UUID
	EmailCT   []byte
	NameCT    []byte
	Locale    *string
	Status    string // of the account
	Version   int64
	CreatedAt time.Time
}

func (u user) etag() string { return etag.Of(strconv.FormatInt(u.Version, 10)) }

// api opens what is sealed; nothing but the answer holds it in the clear.
func (u user) api(ctx context.Context, keys *seal.Keys) (usersv1.User, error) {
	email, err := keys.Open(ctx, u.EmailCT, "users", "email_ct", u.ID)
	if err != nil {
		return usersv1.User{}, err
	}
	answer := usersv1.User{
		Id: u.ID, Email: string(email), Status: usersv1.UserStatus(u.Status), CreatedAt: u.CreatedAt.UTC(),
		Name: nullable.NewNullNullable[string](), Locale: nullable.NewNullNullable[string](),
	}
	if u.NameCT != nil {
		name, err := keys.Open(ctx, u.NameCT, "users", "name_ct", u.ID)
		if err != nil {
			return usersv1.User{}, err
		}
		answer.Name.Set(string(name))
	}
	if u.Locale != nil {
		answer.Locale.Set(*u.Locale)
	}
	return answer, nil
}

type store struct {
	db    *pgxpool.Pool
	keys  *seal.Keys
	cache *cache.Cache
}

func newStore(db *pgxpool.Pool, redis *redis.Client, keys *seal.Keys) *store {
	// The 2 is the shape of user: raise it with a change of its fields.
	return &store{db: db, keys: keys, cache: cache.New(redis, "users:2", time.Minute)}
}

// get returns a profile, from the cache if it is there.
func (s *store) get(ctx context.Context, id uuid.UUID) (u user, err error) {
	_, kept, err := s.cache.Get(ctx, id.String(), func(ctx context.Context) (int64, []byte, error) {
		u, err := s.read(ctx, id)
		if err != nil {
			return 0, nil, err
		}
		row, err := json.Marshal(u)
		return u.Version, row, err
	})
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(kept, &u)
}

// read returns a profile as it is now.
func (s *store) read(ctx context.Context, id uuid.UUID) (user, error) {
	rows, _ := s.db.Query(ctx, `select `+columns+` from users where id = $1 and deleted_at is null`, id)
	u, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[user])
	if errors.Is(err, pgx.ErrNoRows) {
		// A new account's profile follows it by a job.
		return u, problem.NotFound.New("not-found", "There is no profile, or not yet.").After(time.Second)
	}
	return u, err
}

// filter is which profiles are listed; its zero value is all.
type filter struct {
	emailIndex []byte
	status     string
}

// list returns the profiles before the one named, newest first. A condition that nobody asks for is not in the statement, so that each has
// the plan that fits it.
func (s *store) list(ctx context.Context, before uuid.UUID, f filter, limit int) ([]user, error) {
	where, args := `deleted_at is null and id < $1`, []any{before, limit}
	if f.emailIndex != nil {
		args = append(args, f.emailIndex)
		where += ` and email_index = $` + strconv.Itoa(len(args))
	}
	if f.status != "" {
		args = append(args, f.status)
		where += ` and status = $` + strconv.Itoa(len(args))
	}
	rows, _ := s.db.Query(ctx, `select `+columns+` from users where `+where+` order by id desc limit $2`, args...)
	return pgx.CollectRows(rows, pgx.RowToStructByName[user])
}

// update changes a profile that is still at this version.
func (s *store) update(ctx context.Context, id uuid.UUID, version int64, p patch) (u user, err error) {
	var nameCT []byte
	if p.name.value != nil {
		if nameCT, err = s.keys.Seal(ctx, []byte(*p.name.value), "users", "name_ct", id); err != nil {
			return u, err
		}
	}
	rows, _ := s.db.Query(ctx, `
		update users set
		  name_ct = case when $3 then $4 else name_ct end,
		  locale  = case when $5 then $6 else locale end,
		  version = version + 1
		where id = $1 and version = $2 and deleted_at is null
		returning `+columns, id, version, p.name.set, nameCT, p.locale.set, p.locale.value)
	u, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[user])
	if errors.Is(err, pgx.ErrNoRows) {
		return u, problem.PreconditionFailed.New("precondition-failed", "It has changed since; read it again.")
	}
	if err != nil {
		return u, err
	}
	s.cache.Drop(ctx, id.String(), u.Version)
	return u, nil
}

// provision brings a profile to this version of its account. One that is there already, or a newer one, stays as it is.
// A nil status says nothing of it: so do callers of before it was told.
func (s *store) provision(ctx context.Context, id uuid.UUID, email string, authVersion int64, status *string) error {
	emailCT, err := s.keys.Seal(ctx, []byte(email), "users", "email_ct", id)
	if err != nil {
		return err
	}
	index, err := s.keys.Index(ctx, seal.NormalEmail(email))
	if err != nil {
		return err
	}
	var version int64
	err = s.db.QueryRow(ctx, `
		insert into users as u (id, email_ct, email_index, auth_version, status) values ($1, $2, $3, $4, coalesce($5, 'active'))
		on conflict (id) do update set
		  email_ct = excluded.email_ct, email_index = excluded.email_index,
		  auth_version = excluded.auth_version, status = coalesce($5, u.status), version = u.version + 1
		where u.auth_version < excluded.auth_version
		returning version`, id, emailCT, index, authVersion, status).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	s.cache.Drop(ctx, id.String(), version)
	return nil
}
