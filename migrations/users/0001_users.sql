-- +goose Up
-- Who people are. What names a person is a ciphertext (Tink AEAD; table|column|row id is its associated data).

create table users.keysets (
  name       text primary key,
  encrypted  bytea not null, -- a Tink keyset, encrypted with the key-encryption key
  created_at timestamptz not null default now()
);

create table users.users (
  id           uuid primary key, -- the identity's id in auth
  email_ct     bytea not null,
  email_index  bytea not null,   -- not unique: auth decides who has an address
  name_ct      bytea,
  locale       text,
  status       text not null default 'active' check (status in ('active', 'disabled')),
  version      bigint not null default 1, -- raised by every change; the ETag
  auth_version bigint not null,           -- the identity's version that this row reflects
  created_at   timestamptz not null default now(),
  deleted_at   timestamptz
);
create index users_email_index on users.users (email_index);

grant usage on schema users to groundwork_users;
grant select on users.schema_version to groundwork_users;
grant select, insert on users.keysets to groundwork_users;
grant select, insert, update on users.users to groundwork_users;
