-- +goose Up
-- Who may come in. Addresses and private keys are ciphertexts (Tink AEAD; table|column|row id is their associated data);
-- email_index is a keyed hash of the normalised address, by which it is found.

create table auth.keysets (
  name       text primary key,
  encrypted  bytea not null, -- a Tink keyset, encrypted with the key-encryption key
  created_at timestamptz not null default now()
);

create table auth.identities (
  id          uuid primary key,
  email_ct    bytea not null,
  email_index bytea not null,
  status      text not null default 'active' check (status in ('active', 'disabled')),
  roles       text[] not null default '{user}',
  version     bigint not null default 1, -- travels with provisioning, so that an older state that arrives late is ignored
  created_at  timestamptz not null default now(),
  constraint identities_email_key unique (email_index)
);

create table auth.passwords (
  identity_id uuid primary key references auth.identities (id) on delete cascade,
  hash        text not null, -- argon2id in the PHC string format
  changed_at  timestamptz not null default now()
);

-- Somebody asked for an account. Confirming makes the identity with the hash of that very row.
create table auth.registrations (
  id           uuid primary key,
  email_ct     bytea not null,
  email_index  bytea not null,
  hash         text not null,
  token_digest bytea not null,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null,
  constraint registrations_token_key unique (token_digest)
);
create index registrations_email_index on auth.registrations (email_index);
create index registrations_expires_at on auth.registrations (expires_at);

-- A session is one login. A refresh token names it and its counter; no row per token.
create table auth.sessions (
  id          uuid primary key,
  identity_id uuid not null references auth.identities (id) on delete cascade,
  counter     bigint not null default 0,
  created_at  timestamptz not null default now(), -- the time of authentication
  rotated_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  revoked_at  timestamptz,
  acr         text not null,
  amr         text[] not null
);
create index sessions_identity_id on auth.sessions (identity_id) where revoked_at is null;
create index sessions_expires_at on auth.sessions (expires_at);

-- A key is published from created_at, signs from active_at until a newer one does, and stays published until nothing it signed is valid.
create table auth.signing_keys (
  id         uuid primary key, -- kid
  private_ct bytea not null,
  public_jwk jsonb not null,
  created_at timestamptz not null default now(),
  active_at  timestamptz not null
);

-- Who did what. Ids only.
create table auth.audit_events (
  id          uuid primary key,
  kind        text not null,
  identity_id uuid,
  session_id  uuid,
  actor       text not null default '', -- the subject of the token it was asked with; empty when there was none
  request_id  text not null default '',
  created_at  timestamptz not null default now()
);
create index audit_events_identity_id on auth.audit_events (identity_id, id);

-- +goose StatementBegin
create function auth.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;
-- +goose StatementEnd
create trigger audit_events_append_only before update or delete or truncate on auth.audit_events
  for each statement execute function auth.refuse_change();

grant usage on schema auth to groundwork_auth;
grant select on auth.schema_version to groundwork_auth;
grant select, insert on auth.keysets, auth.signing_keys, auth.audit_events to groundwork_auth;
grant select, insert, update on auth.identities, auth.passwords, auth.sessions to groundwork_auth;
grant select, insert, delete on auth.registrations to groundwork_auth;
grant delete on auth.sessions to groundwork_auth;

-- River's tables are made before this file runs.
grant select on auth.river_migration to groundwork_auth;
grant select, insert, update, delete on auth.river_job, auth.river_leader, auth.river_queue, auth.river_notification to groundwork_auth;
grant usage on sequence auth.river_job_id_seq, auth.river_notification_id_seq to groundwork_auth;
