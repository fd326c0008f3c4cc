-- +goose Up
-- An entry goes on from the one before: a balance that is no sum of its entries, or a number that was left out, is refused at once.
-- +goose StatementBegin
create or replace function transactions.check_entries() returns trigger language plpgsql as $$
begin
  if exists (select from added group by transaction_id, currency having sum(amount) <> 0) then
    raise exception 'entries do not sum to zero' using errcode = 'check_violation', constraint = 'entries_sum_to_zero';
  end if;
  -- A balanced pair added to an old transaction would rewrite history as well. (Subqueries, here and below: each row is looked up by its index,
  -- whatever the planner knew of the tables when they were empty.)
  if exists (
    select from added where (select created_xid from transactions.transactions t where t.id = added.transaction_id) <> pg_current_xact_id()
  ) then
    raise exception 'entries come too late for their transaction' using errcode = 'check_violation', constraint = 'entries_in_time';
  end if;
  if exists (
    select from (
      select account_version, amount, balance_after, (
        select e.balance_after from transactions.entries e where e.account_id = added.account_id and e.account_version = added.account_version - 1
      ) as before
      from added offset 0
    ) a
    where (before is null) <> (account_version = 1) or balance_after <> coalesce(before, 0) + amount
  ) then
    raise exception 'entries do not go on from those before' using errcode = 'check_violation', constraint = 'entries_in_order';
  end if;
  return null;
end $$;
-- +goose StatementEnd

-- A statement shows when each entry was made, and need not look for that in another table. Older entries have it in their transactions only.
alter table transactions.entries add column created_at timestamptz;

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
-- Which run is the last: a long one may finish after others that began later.
create index integrity_runs_finished_at on transactions.integrity_runs (finished_at);
create index integrity_runs_full on transactions.integrity_runs (finished_at) where is_full;
grant select, insert, delete on transactions.integrity_runs to groundwork_transactions;
grant update (finished_at, checks, failures) on transactions.integrity_runs to groundwork_transactions;
