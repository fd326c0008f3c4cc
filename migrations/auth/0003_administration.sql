-- +goose Up
-- What people who run this do about accounts, and what is known of who did what.

-- Tokens that count no more before their time is over: of a session, or of somebody (a role was taken away). Kept for longer than a token is
-- valid; Redis tells every process within a second, and may forget it all (pkg/authn/revocations.go).
create table auth.revocations (
  id         uuid primary key,  -- what a token names as sid, jti or sub
  below      bigint not null,   -- of tokens that name somebody: those that go by a version of the identity below this one
  created_at timestamptz not null
);
create index revocations_created_at on auth.revocations (created_at);

-- From where something was done, apart from what was done: this is personal data and is forgotten after 90 days.
create table auth.audit_addresses (
  event_id   uuid primary key references auth.audit_events (id),
  address_ct bytea not null,
  created_at timestamptz not null default now()
);
create index audit_addresses_created_at on auth.audit_addresses (created_at);

grant select, insert, update, delete on auth.revocations to groundwork_auth;
grant select, insert, delete on auth.audit_addresses to groundwork_auth;

-- A key for a program: that acts for somebody (an API key), or for itself (a service account, without an owner).
create table auth.api_keys (
  id              uuid primary key,
  owner_id        uuid references auth.identities (id) on delete cascade,
  name            text not null check (length(name) between 1 and 100),
  scopes          text[] not null,
  digest          bytea not null, -- of 256 bits at random, so SHA-256 is enough
  previous_digest bytea,          -- of the key before, which counts for a while after a rotation
  previous_until  timestamptz,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  last_used_at    timestamptz,    -- to the minute
  revoked_at      timestamptz
);
create index api_keys_owner_id on auth.api_keys (owner_id, id) where revoked_at is null;
grant select, insert, update on auth.api_keys to groundwork_auth;
