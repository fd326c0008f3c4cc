package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/groundwork/migrations"
)

// psql opens the database that DATABASE_URL names, or another one of its server.
func psql(ctx context.Context, w world, args []string) error {
	f := flags("psql", w)
	as := f.String("as", "", "the module whose login it is; the owner of everything when empty")
	db := f.String("db", "", "another database of the server, such as the one that a failed test has kept")
	if err := f.Parse(args); err != nil {
		return err
	}
	address, err := login(w.getenv, *as)
	if err != nil {
		return err
	}
	if *db != "" {
		address.Path = "/" + *db
		if err := known(ctx, *address, *db); err != nil {
			return err
		}
	}
	sql := w.getenv("SQL")
	if program, err := exec.LookPath("psql"); err == nil && w.getenv("LOCAL_PSQL") != "own" {
		password, _ := address.User.Password()
		address.User = url.User(address.User.Username()) // what stands on a command line is no secret
		arguments := []string{address.String()}
		if sql != "" {
			arguments = []string{"-X", "-c", sql, address.String()}
		}
		return replace(program, arguments, []string{"PGPASSWORD=" + password})
	}
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if sql != "" {
		return query(ctx, conn, sql, w.out)
	}
	return converse(ctx, conn, w)
}

// login is the address of the owner or of a module's login.
func login(getenv func(string) string, module string) (*url.URL, error) {
	owner := getenv("DATABASE_URL")
	if owner == "" {
		return nil, errors.New("no DATABASE_URL: `make psql` starts what is missing")
	}
	if module == "" {
		return url.Parse(owner)
	}
	address := getenv(strings.ToUpper(module) + "_DATABASE_URL")
	if address == "" {
		var err error
		if address, err = migrations.LocalURL(owner, module); err != nil {
			return nil, err
		}
	}
	for _, m := range migrations.Modules() {
		if m == module {
			return url.Parse(address)
		}
	}
	return nil, fmt.Errorf("there is no module %q; there are %s", module, strings.Join(migrations.Modules(), ", "))
}

// known says which databases of failed tests there are when there is none of this name.
func known(ctx context.Context, address url.URL, name string) error {
	conn, err := pgx.Connect(ctx, address.String())
	if err == nil {
		return conn.Close(ctx)
	}
	var no *pgconn.PgError
	if !errors.As(err, &no) || no.Code != "3D000" {
		return err
	}
	address.Path = "/postgres"
	if conn, err = pgx.Connect(ctx, address.String()); err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, _ := conn.Query(ctx, `select datname from pg_database where shobj_description(oid, 'pg_database') like 'kept: %' order by oid desc`)
	kept, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return fmt.Errorf("there is no database %q. Failed tests have kept, the newest first: %s", name, strings.Join(append(kept, "nothing else"), ", "))
}

// converse stands in where psql is not installed. A person's statement ends with a semicolon at the end of a line; anything else is
// read to its end and run as one.
func converse(ctx context.Context, conn *pgx.Conn, w world) error {
	if !terminal(w.in) {
		sql, err := io.ReadAll(w.in)
		if err != nil {
			return err
		}
		return query(ctx, conn, string(sql), w.out)
	}
	fmt.Fprintln(w.errors, `psql is not installed; this runs SQL up to a semicolon at the end of a line, and no backslash command but \q.`)
	var statement strings.Builder
	fmt.Fprint(w.errors, "=> ")
	for lines := bufio.NewScanner(w.in); lines.Scan() && strings.TrimSpace(lines.Text()) != `\q`; {
		statement.WriteString(lines.Text() + "\n")
		if strings.HasSuffix(strings.TrimSpace(lines.Text()), ";") {
			if err := query(ctx, conn, statement.String(), w.out); err != nil {
				fmt.Fprintln(w.errors, err)
			}
			if conn.IsClosed() {
				return errors.New("the connection has ended")
			}
			statement.Reset()
			fmt.Fprint(w.errors, "=> ")
		}
	}
	return nil
}

// query runs statements and writes each result as a table.
func query(ctx context.Context, conn *pgx.Conn, sql string, out io.Writer) error {
	results := conn.PgConn().Exec(ctx, sql)
	for results.NextResult() {
		rows := results.ResultReader()
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for i, field := range rows.FieldDescriptions() {
			cell(table, i, field.Name)
		}
		if len(rows.FieldDescriptions()) > 0 {
			fmt.Fprintln(table)
		}
		for rows.NextRow() {
			for i, value := range rows.Values() {
				cell(table, i, string(value))
			}
			fmt.Fprintln(table)
		}
		tag, err := rows.Close()
		if err == nil {
			fmt.Fprintf(table, "(%s)\n", tag)
		}
		_ = table.Flush()
	}
	return results.Close()
}

// cell writes a value that may hold what would break a table.
func cell(table io.Writer, i int, value string) {
	if i > 0 {
		fmt.Fprint(table, "\t")
	}
	fmt.Fprint(table, strings.NewReplacer("\t", `\t`, "\n", `\n`).Replace(value))
}
