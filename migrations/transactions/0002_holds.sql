-- +goose Up
-- Money that is set aside, and transactions that take others back.

-- A hold is open once and ends once. While it is open its amount is part of its account's balances.held.
create table transactions.holds (
  id                     uuid primary key,
  account_id             uuid not null,
  destination_account_id uuid not null,
  amount                 bigint not null check (amount between 1 and 9007199254740991),
  currency               text not null,
  captured_amount        bigint,
  status                 text not null default 'open' check (status in ('open', 'captured', 'voided', 'expired')),
  expires_at             timestamptz not null,
  transaction_id         uuid references transactions.transactions (id),
  version                bigint not null default 1,
  created_at             timestamptz not null,
  created_by             uuid not null,
  constraint holds_transaction_key unique (transaction_id), -- a transaction captures one hold
  foreign key (account_id, currency) references transactions.accounts (id, currency),
  foreign key (destination_account_id, currency) references transactions.accounts (id, currency),
  constraint holds_sides_check check (account_id <> destination_account_id),
  constraint holds_captured_amount_check check (captured_amount between 1 and amount),
  constraint holds_captured_check check ((status = 'captured') = (captured_amount is not null) and (status = 'captured') = (transaction_id is not null))
);
-- Those that are open, which are few: to find what lapses, what stands in the way of closing an account, and what an account has set aside.
create index holds_expires_at on transactions.holds (expires_at) where status = 'open';
create index holds_account_id on transactions.holds (account_id) where status = 'open';
create index holds_destination_account_id on transactions.holds (destination_account_id) where status = 'open';

-- +goose StatementBegin
create function transactions.check_hold() returns trigger language plpgsql as $$
begin
  if old.status <> 'open' or new.version <> old.version + 1 then
    raise exception 'a hold ends once' using errcode = 'check_violation', constraint = 'holds_end_once';
  end if;
  return new;
end $$;
-- +goose StatementEnd
create trigger holds_end_once before update on transactions.holds for each row execute function transactions.check_hold();
create trigger holds_kept before delete or truncate on transactions.holds
  for each statement execute function transactions.refuse_change();

-- A transaction is taken back at most once, and what takes it back takes back nothing else.
create table transactions.transaction_reversals (
  original_id uuid primary key references transactions.transactions (id),
  reversal_id uuid not null references transactions.transactions (id),
  constraint transaction_reversals_reversal_key unique (reversal_id),
  check (original_id <> reversal_id)
);
create trigger transaction_reversals_append_only before update or delete or truncate on transactions.transaction_reversals
  for each statement execute function transactions.refuse_change();
-- A reference that could be freed could be used again.
create trigger transaction_references_append_only before update or delete or truncate on transactions.transaction_references
  for each statement execute function transactions.refuse_change();

grant select, insert on transactions.transaction_reversals to groundwork_transactions;
grant select, insert (id, account_id, destination_account_id, amount, currency, expires_at, created_at, created_by)
  on transactions.holds to groundwork_transactions; -- a new one is open
grant update (status, captured_amount, transaction_id, version) on transactions.holds to groundwork_transactions;
grant update (held, status) on transactions.balances to groundwork_transactions;
-- A new account is empty.
-- contract: INSERT on transactions.balances is not used since v0.2.0
revoke insert on transactions.balances from groundwork_transactions;
grant insert (account_id, currency, floor) on transactions.balances to groundwork_transactions;
