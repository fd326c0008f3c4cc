-- +goose Up
-- What an owner does about an account: another password or address, a second factor, sessions to look at and to end.

-- Somebody asks for what only the owner of an address may have. A row is made whether the address is known or not; a job decides which
-- mail to send. Only a digest of the mailed token is kept.
create table auth.one_time_tokens (
  id           uuid primary key,
  kind         text not null check (kind in ('password-reset', 'email-change', 'resend')),
  identity_id  uuid references auth.identities (id) on delete cascade, -- who asks, where that is known
  email_ct     bytea not null, -- the address that gets the mail
  email_index  bytea not null,
  token_digest bytea not null,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null,
  constraint one_time_tokens_digest_key unique (token_digest),
  constraint one_time_tokens_identity_check check ((kind = 'email-change') = (identity_id is not null))
);
create index one_time_tokens_email_index on auth.one_time_tokens (email_index, created_at);
create index one_time_tokens_expires_at on auth.one_time_tokens (expires_at);

-- After a hundred wrong passwords or codes in a row a password opens nothing any more, until it is reset by mail.
alter table auth.passwords
  add column failed_count int not null default 0,
  add column blocked_at timestamptz;

alter table auth.sessions
  add column authenticated_at timestamptz, -- when the owner last proved who they are; null: at created_at
  add column client_ct bytea;              -- the program and the network of the login, for its owner to recognise

create table auth.totp (
  identity_id  uuid primary key references auth.identities (id) on delete cascade,
  secret_ct    bytea not null,
  confirmed_at timestamptz,              -- it counts from then on
  last_step    bigint not null default 0, -- of the last code that was taken (RFC 6238, section 5.2: once)
  failed_count integer not null default 0, -- wrong codes in a row
  created_at   timestamptz not null default now()
);

-- 128 bits at random each, so a digest is enough.
create table auth.recovery_codes (
  identity_id uuid not null references auth.totp (identity_id) on delete cascade,
  digest      bytea not null,
  used_at     timestamptz,
  primary key (identity_id, digest)
);

grant select, insert, delete on auth.one_time_tokens to groundwork_auth;
grant select, insert, update, delete on auth.totp, auth.recovery_codes to groundwork_auth;
