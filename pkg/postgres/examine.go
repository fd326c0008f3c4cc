package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Server is what a login finds out about its server and itself.
type Server struct {
	Version        int       // 150004 is 15.4
	Now            time.Time // by the server's clock
	Durable        bool      // what is committed survives a crash: fsync, full_page_writes and synchronous_commit are on
	Superuser      bool
	Owns           int // tables, by which it could change its own rights
	MaxConnections int // of all who connect, together
}

// Examine asks the server of a pool.
func Examine(ctx context.Context, pool *pgxpool.Pool) (s Server, err error) {
	err = pool.QueryRow(ctx, `
		select current_setting('server_version_num')::int, clock_timestamp(),
		       current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on' and current_setting('synchronous_commit') <> 'off',
		       r.rolsuper, (select count(*) from pg_class c where c.relowner = r.oid), current_setting('max_connections')::int
		from pg_roles r where r.rolname = current_user`).Scan(&s.Version, &s.Now, &s.Durable, &s.Superuser, &s.Owns, &s.MaxConnections)
	return s, err
}
