package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// The stack for tests stays empty-handed between runs, but its Postgres keeps its folder: a run then needs neither initdb nor a new
// template, and the database of a test that failed can still be opened.

// trust removes data that cannot be trusted. Postgres is not to wait for the disk here (fsync=off): what was not stopped in order may
// be anything after a power cut.
func (k *keeper) trust(folder string) error {
	inOrder := filepath.Join(k.data, "stopped-in-order")
	if err := os.Remove(inOrder); os.IsNotExist(err) {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	// The last thing that is done, after Postgres has stopped; not done when it ended by itself.
	k.stop = append(k.stop, func() {
		if k.ctx.Err() != nil {
			_ = os.WriteFile(inOrder, nil, 0o600)
		}
	})
	return nil
}

// How much of the past stays: the databases of the last tests that failed, and the templates of the last sets of migrations.
const (
	keptDatabases = 10
	keptTemplates = 3
)

// tidy drops the databases that nobody will come back for. Nobody is on the server yet.
func tidy(ctx context.Context, admin string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// pgtest names the test in the comment of a database that is kept. The newest have the highest numbers.
	rows, _ := conn.Query(ctx, `
		select format('drop database %I', datname)
		from (select datname, kind, row_number() over (partition by kind order by oid desc) as n
		      from (select oid, datname, case when datname like 'template\_%\_draft' then 'left'
		                                      when starts_with(datname, 'template_') then 'template'
		                                      when shobj_description(oid, 'pg_database') is not null then 'kept'
		                                      else 'left' end as kind
		            from pg_database where datname ~ '^(test|template)_') d) d
		where n > case kind when 'kept' then $1 when 'template' then $2 else 0 end`, keptDatabases, keptTemplates)
	old, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, statement := range old {
		_, failed := conn.Exec(ctx, statement)
		err = errors.Join(err, failed)
	}
	return err
}
