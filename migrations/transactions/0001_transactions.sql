-- +goose Up
-- Where money is and how it moved. History (transactions, entries) holds ids and amounts only and is never changed; what a person typed
-- stands apart, in the notes, where it can be erased.

-- ISO 4217, list one. Units without a minor unit (gold, test codes) are left out: there is nothing to count them in.
create table transactions.currencies (
  code     text primary key check (code ~ '^[A-Z]{3}$'),
  exponent smallint not null
);
insert into transactions.currencies (code, exponent)
select code, exponent
from (values
  (0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'),
  (2, 'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK
       DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR
       LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR
       SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER
       ZAR ZMW ZWG'),
  (3, 'BHD IQD JOD KWD LYD OMR TND'),
  (4, 'CLF UYW')
) as list (exponent, codes), regexp_split_to_table(codes, '\s+') as code;

create table transactions.accounts (
  id         uuid primary key,
  owner_id   uuid,
  kind       text not null check (kind in ('customer', 'clearing', 'revenue', 'external')),
  currency   text not null references transactions.currencies (code),
  version    bigint not null default 1, -- of the profile: raised when the notes change
  created_at timestamptz not null,
  constraint accounts_currency_key unique (id, currency), -- so that nothing is kept in another currency than the account's
  constraint accounts_owner_check check ((kind = 'customer') = (owner_id is not null))
);
create index accounts_owner_id on transactions.accounts (owner_id, id);

-- The one hot row of an account, apart from accounts so that foreign keys never lock it. Half of each page stays free and there is no
-- second index, so that an update stays in its page.
create table transactions.balances (
  account_id    uuid primary key,
  currency      text not null,
  status        text not null default 'active' check (status in ('active', 'frozen', 'closed')),
  posted        bigint not null default 0,
  held          bigint not null default 0 check (held >= 0),
  floor         bigint,                    -- null for none
  entry_version bigint not null default 0, -- how many entries there are
  version       bigint not null default 1, -- raised by every change
  updated_at    timestamptz not null default now(),
  foreign key (account_id, currency) references transactions.accounts (id, currency),
  constraint balances_floor_check check (floor is null or posted - held >= floor),
  constraint balances_posted_check check (abs(posted) <= 9007199254740991) -- what a JSON number can hold
) with (fillfactor = 50);

create table transactions.account_notes (
  account_id uuid primary key references transactions.accounts (id),
  name       text check (length(name) <= 200),
  metadata   jsonb not null default '{}' check (pg_column_size(metadata) <= 65536)
);

create table transactions.transactions (
  id          uuid primary key,
  kind        text not null check (kind in ('transfer', 'capture', 'reversal')),
  occurred_at timestamptz not null,
  created_at  timestamptz not null,
  created_by  uuid not null,
  created_xid xid8 not null default pg_current_xact_id(), -- nobody may set it: entries are checked against it
  request_id  text not null
);

create table transactions.transaction_notes (
  transaction_id uuid primary key references transactions.transactions (id),
  description    text check (length(description) <= 500),
  metadata       jsonb not null default '{}' check (pg_column_size(metadata) <= 65536)
);

-- A posting is two entries beside each other: seq 1 leaves an account, seq 2 arrives in another; 3 and 4 are the next posting.
create table transactions.entries (
  transaction_id  uuid not null references transactions.transactions (id),
  seq             int not null check (seq > 0),
  account_id      uuid not null,
  amount          bigint not null check (amount <> 0),
  currency        text not null,
  balance_after   bigint not null,
  account_version bigint not null check (account_version > 0), -- 1, 2, 3 … per account, in commit order
  primary key (transaction_id, seq),
  constraint entries_account_version_key unique (account_id, account_version),
  foreign key (account_id, currency) references transactions.accounts (id, currency)
);

-- A business reference is used once, for ever.
create table transactions.transaction_references (
  created_by     uuid not null,
  reference      text not null check (length(reference) between 1 and 255),
  transaction_id uuid not null references transactions.transactions (id),
  primary key (created_by, reference),
  constraint transaction_references_transaction_key unique (transaction_id)
);

-- What was answered to a key, byte for byte. A key counts until it is purged.
create table transactions.idempotency_keys (
  principal_id uuid not null,
  key          text not null,
  fingerprint  bytea not null,
  status       int not null,
  headers      jsonb not null,
  body         bytea not null,
  created_at   timestamptz not null,
  expires_at   timestamptz not null,
  primary key (principal_id, key)
);
create index idempotency_keys_expires_at on transactions.idempotency_keys (expires_at);

-- The last word on double entry, whatever the program does. One look per statement, over the rows that it added.
-- +goose StatementBegin
create function transactions.check_entries() returns trigger language plpgsql as $$
begin
  if exists (select from added group by transaction_id, currency having sum(amount) <> 0) then
    raise exception 'entries do not sum to zero' using errcode = 'check_violation', constraint = 'entries_sum_to_zero';
  end if;
  -- A balanced pair added to an old transaction would rewrite history as well.
  if exists (select from added join transactions.transactions t on t.id = added.transaction_id where t.created_xid <> pg_current_xact_id()) then
    raise exception 'entries come too late for their transaction' using errcode = 'check_violation', constraint = 'entries_in_time';
  end if;
  return null;
end $$;
-- +goose StatementEnd
create trigger entries_check after insert on transactions.entries
  referencing new table as added for each statement execute function transactions.check_entries();

-- +goose StatementBegin
create function transactions.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;
-- +goose StatementEnd
create trigger transactions_append_only before update or delete or truncate on transactions.transactions
  for each statement execute function transactions.refuse_change();
create trigger entries_append_only before update or delete or truncate on transactions.entries
  for each statement execute function transactions.refuse_change();

grant usage on schema transactions to groundwork_transactions;
grant select on transactions.schema_version, transactions.currencies to groundwork_transactions;
grant select, insert on transactions.accounts, transactions.balances, transactions.entries, transactions.transaction_notes,
  transactions.transaction_references to groundwork_transactions;
grant update (version) on transactions.accounts to groundwork_transactions;
grant update (posted, entry_version, version, updated_at) on transactions.balances to groundwork_transactions;
grant select, insert, update on transactions.account_notes to groundwork_transactions;
grant select on transactions.transactions to groundwork_transactions;
grant insert (id, kind, occurred_at, created_at, created_by, request_id) on transactions.transactions to groundwork_transactions;
grant select, insert, delete on transactions.idempotency_keys to groundwork_transactions;

-- River's tables are made before this file runs.
grant select on transactions.river_migration to groundwork_transactions;
grant select, insert, update, delete on transactions.river_job, transactions.river_leader, transactions.river_queue,
  transactions.river_notification to groundwork_transactions;
grant usage on sequence transactions.river_job_id_seq, transactions.river_notification_id_seq to groundwork_transactions;
