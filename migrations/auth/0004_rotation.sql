-- +goose Up
-- Keys are rotated while the program runs.

-- A new key seals when it has been in its keyset for long enough, so that every process knows it.
alter table auth.keysets add column changed_at timestamptz not null default now();
grant update (encrypted, changed_at) on auth.keysets to groundwork_auth;

-- What an old key has sealed is sealed again. A ciphertext begins with the id of its key, five bytes: by these it is found and counted
-- (0007).
grant update (email_ct) on auth.registrations to groundwork_auth;
grant update (private_ct) on auth.signing_keys to groundwork_auth;
grant update (email_ct) on auth.one_time_tokens to groundwork_auth;
grant update (address_ct) on auth.audit_addresses to groundwork_auth;

-- A signing key goes when nothing that it signed is valid.
grant delete on auth.signing_keys to groundwork_auth;
