// only with auth, users, transactions: this file

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	fewEntries = 10_000
	historians = 250 // accounts that have the history; with few entries, too, each has more than a page of them
)

// history measures what a ledger is asked all day with little history and with much, and says how much longer it takes.
func (w *world) history(ctx context.Context, entries int, each time.Duration) error {
	fmt.Printf("%s\n\n", w.machine(ctx))
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows := w.historyRows(each)
	times := map[string][]time.Duration{}
	for _, n := range []int{fewEntries, entries} {
		began := time.Now()
		if err := w.remember(ctx, conn, n); err != nil {
			return err
		}
		if err := settle(ctx, conn); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "a history of %d entries was made in %s\n", n, time.Since(began).Round(time.Second))
		for range 3 {
			for _, r := range rows {
				if err := w.login(ctx); err != nil {
					return err
				}
				out, err := r.measure()
				if err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
				times[r.name+strconv.Itoa(n)] = append(times[r.name+strconv.Itoa(n)], out.at(0.5))
			}
		}
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "what\tp50 ms with %d entries\twith %d\tratio\twanted\n", fewEntries, entries)
	for _, r := range rows {
		few, many := inMS(times[r.name+strconv.Itoa(fewEntries)]), inMS(times[r.name+strconv.Itoa(entries)])
		fmt.Fprintf(tw, "%s\t%.2f\t%.2f\t%.2f\tat most 1.30\n", r.name, few, many, many/few)
	}
	return tw.Flush()
}

func inMS(times []time.Duration) float64 {
	var all []float64
	for _, t := range times {
		all = append(all, ms(t))
	}
	return median(all)
}

func (w *world) historyRows(each time.Duration) []row {
	over := func(want string, request func(client, n int, buf []byte) []byte) func() (result, error) {
		return func() (result, error) {
			return load{address: w.api, clients: 8, request: request, want: want}.run(each) // fewer than would queue up
		}
	}
	some := func(list []string, client, n int) string { return list[(client*7919+n*104729)%len(list)] }
	return []row{
		{name: "posting", measure: over("201", func(client, n int, buf []byte) []byte {
			from, to := some(w.ids, client, n), some(w.ids, client+1, n)
			return w.post(buf, "/v1/transactions", fmt.Appendf(nil, "%s-%d-%d", w.began, client, time.Now().UnixNano()), from, to)
		})},
		{name: "a page of a statement", measure: over("200", func(client, n int, buf []byte) []byte {
			return w.get(buf, "/v1/accounts/"+some(w.ids, client, n)+"/entries")
		})},
		{name: "a transaction by its id", measure: over("200", func(client, n int, buf []byte) []byte {
			return w.get(buf, "/v1/transactions/"+some(w.transactions, client, n))
		})},
	}
}

// remember makes history by hand: each transaction moves 1 from an account to the next one, round and round. What would take hours by the ledger's
// rules is kept to them here: sums, versions and balances are right.
func (w *world) remember(ctx context.Context, conn *pgx.Conn, entries int) error {
	count := entries / 2
	for _, sql := range []string{
		"set search_path = transactions", "set maintenance_work_mem = '512MB'", "set synchronous_commit = off",
		"alter table holds disable trigger user", "alter table entries disable trigger user", "alter table transactions disable trigger user",
		"alter table transaction_reversals disable trigger user", "alter table transaction_references disable trigger user",
		"truncate entries, transactions, transaction_notes, transaction_references, transaction_reversals, holds, account_notes, balances, accounts, idempotency_keys",
		fmt.Sprintf(`insert into accounts (id, kind, currency, created_at) select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'external', 'EUR', now()
			from generate_series(0, %d - 1) n`, historians),
		"alter table entries drop constraint entries_transaction_id_fkey, drop constraint entries_account_id_currency_fkey, drop constraint entries_pkey, drop constraint entries_account_version_key",
		fmt.Sprintf(`insert into transactions (id, kind, occurred_at, created_at, created_by, request_id)
			select (lpad(to_hex(1700000000000 + n / 4), 12, '0') || '7' || lpad(to_hex(n %% 4), 3, '0') || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
				'transfer', now(), now(), '01900000-0000-7000-8000-000000000000', 'history' from generate_series(0, %d - 1) n`, count),
		// Of each account k: the transaction before pays into it, its own pays out; of the first one it is the other way round.
		fmt.Sprintf(`insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version, created_at)
			select t, seq, ('01900000-0000-7000-8000-' || lpad(to_hex(k), 12, '0'))::uuid, amount, 'EUR',
				case when k = 0 then least(amount, 0) else greatest(amount, 0) end, 2 * (n / %[1]d) + case when (k = 0) = (amount < 0) then 1 else 2 end, now()
			from (select n, (lpad(to_hex(1700000000000 + n / 4), 12, '0') || '7' || lpad(to_hex(n %% 4), 3, '0') || '8000' || lpad(to_hex(n), 12, '0'))::uuid as t
				from generate_series(0, %[2]d - 1) n) s,
			lateral (values (1, n %% %[1]d, -1), (2, (n + 1) %% %[1]d, 1)) e (seq, k, amount)`, historians, count),
		`alter table entries add constraint entries_pkey primary key (transaction_id, seq), add constraint entries_account_version_key unique (account_id, account_version)`,
		`alter table entries add constraint entries_transaction_id_fkey foreign key (transaction_id) references transactions (id) not valid,
			add constraint entries_account_id_currency_fkey foreign key (account_id, currency) references accounts (id, currency) not valid`,
		fmt.Sprintf(`insert into balances (account_id, currency, entry_version) select id, 'EUR', %d from accounts`, 2*(count/historians)),
		"alter table entries enable trigger user", "alter table transactions enable trigger user",
		"alter table transaction_reversals enable trigger user", "alter table transaction_references enable trigger user", "alter table holds enable trigger user",
		"vacuum analyze",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w: %s", err, sql)
		}
	}
	var err error
	if w.ids, err = column(ctx, conn, "select id::text from accounts order by id"); err != nil {
		return err
	}
	w.transactions, err = column(ctx, conn, fmt.Sprintf("select id::text from transactions where random() < %g limit 5000", min(1, 5000/float64(count))))
	return err
}

// settle waits until Postgres has written to the disk what was made, which otherwise goes on beside the measurement.
func settle(ctx context.Context, conn *pgx.Conn) error {
	for quiet, last := 0, int64(-1); quiet < 15; {
		var written int64
		if err := conn.QueryRow(ctx, "select buffers_checkpoint + buffers_clean from pg_stat_bgwriter").Scan(&written); err != nil {
			return nil //nolint:nilerr // newer ones count elsewhere; then it is not waited for
		}
		if quiet++; written != last {
			quiet, last = 0, written
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

func column(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	rows, _ := conn.Query(ctx, sql)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
