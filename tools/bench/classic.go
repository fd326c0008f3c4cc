// only with auth, users, transactions: this file

package main

import (
	"encoding/json"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/postgres"
)

// baselines serves what Groundwork is measured against, on the same machine and the same database: a handler that does nothing, and payments as
// most programs make them. Both are without authentication, validation, logs, metrics and traces, which favours them.
func baselines(db *pgxpool.Pool) http.Handler {
	r := chi.NewRouter()
	r.Get("/constant", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":"01900000-0000-7000-8000-000000000000","currency":"EUR","balance":{"posted":100,"held":0,"available":100}}`))
	})
	r.Post("/classic", func(w http.ResponseWriter, req *http.Request) {
		id, err := classic(req, db)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": id})
	})
	return r
}

// classic posts one payment in a transaction of its own, of five statements: lock and read the balances, the transaction, its entries, the
// balances, the key.
func classic(req *http.Request, db *pgxpool.Pool) (uuid.UUID, error) {
	var in struct {
		Postings []struct {
			From, To uuid.UUID
			Amount   int64
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		return uuid.Nil, err
	}
	p, ctx := in.Postings[0], req.Context()
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	return id, postgres.InTx(ctx, db, func(tx pgx.Tx) error {
		type balance struct {
			AccountID uuid.UUID
			Posted    int64
			Version   int64
		}
		rows, _ := tx.Query(ctx, `select account_id, posted, entry_version as version from balances where account_id in ($1, $2) order by account_id for no key update`, p.From, p.To)
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[balance])
		if err != nil {
			return err
		}
		of := map[uuid.UUID]balance{}
		for _, b := range found {
			of[b.AccountID] = b
		}
		from, to := of[p.From], of[p.To]
		for _, statement := range []struct {
			sql  string
			args []any
		}{
			{`insert into transactions (id, kind, occurred_at, created_at, created_by, request_id) values ($1, 'transfer', now(), now(), $2, 'classic')`, []any{id, p.From}},
			{`insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version)
				values ($1, 1, $2, -$4::bigint, 'EUR', $5, $6), ($1, 2, $3, $4, 'EUR', $7, $8)`,
				[]any{id, p.From, p.To, p.Amount, from.Posted - p.Amount, from.Version + 1, to.Posted + p.Amount, to.Version + 1}},
			{`update balances set posted = posted + case account_id when $1 then -$3::bigint else $3 end, entry_version = entry_version + 1,
				version = version + 1, updated_at = clock_timestamp() where account_id in ($1, $2)`, []any{p.From, p.To, p.Amount}},
			{`insert into idempotency_keys (principal_id, key, fingerprint, status, headers, body, created_at, expires_at)
				values ($1, $2, '', 201, '{}', '{}', now(), now() + interval '24 hours')`, []any{p.From, req.Header.Get("Idempotency-Key")}},
		} {
			if _, err := tx.Exec(ctx, statement.sql, statement.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
