-- +goose Up
-- What the checks of the ledger found, run by run.
create table transactions.integrity_runs (
  id          uuid primary key,
  is_full     boolean not null,
  started_at  timestamptz not null,
  finished_at timestamptz,
  checks      int not null default 0,
  failures    jsonb not null default '[]'
);
create index integrity_runs_running on transactions.integrity_runs (id) where finished_at is null;
grant select, insert, delete on transactions.integrity_runs to groundwork_transactions;
grant update (finished_at, checks, failures) on transactions.integrity_runs to groundwork_transactions;
