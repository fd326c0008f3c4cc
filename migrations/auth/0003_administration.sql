-- +goose Up
-- What people who run this do about accounts, and what is known of who did what.

-- Tokens that count no more before their time is over: of a session, or of somebody (a role was taken away). Kept for longer than a token is
-- valid; Redis tells every process within a second, and may forget it all (pkg/authn/revocations.go).
create table auth.revocations (
  id         uuid primary key,     -- what a token names as sid or sub
  not_before timestamptz not null, -- tokens that were issued before count no more
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
create index audit_events_kind on auth.audit_events (kind, id);
create index audit_events_actor on auth.audit_events (actor, id);

grant select, insert, update, delete on auth.revocations to groundwork_auth;
grant select, insert, delete on auth.audit_addresses to groundwork_auth;
