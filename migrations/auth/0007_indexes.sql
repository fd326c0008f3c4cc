-- +goose Up
-- +goose NO TRANSACTION
-- To find events by what was done and by whom, and what an old key has sealed (0004).
-- Everybody goes on while they are made, which wants no transaction; what fails in the middle is run again from its beginning.
set lock_timeout = 0;
drop index concurrently if exists auth.audit_events_kind;
create index concurrently audit_events_kind on auth.audit_events (kind, id);
drop index concurrently if exists auth.audit_events_actor;
create index concurrently audit_events_actor on auth.audit_events (actor, id);
drop index concurrently if exists auth.identities_email_ct_key;
create index concurrently identities_email_ct_key on auth.identities (substring(email_ct from 1 for 5));
drop index concurrently if exists auth.registrations_email_ct_key;
create index concurrently registrations_email_ct_key on auth.registrations (substring(email_ct from 1 for 5));
drop index concurrently if exists auth.signing_keys_private_ct_key;
create index concurrently signing_keys_private_ct_key on auth.signing_keys (substring(private_ct from 1 for 5));
drop index concurrently if exists auth.one_time_tokens_email_ct_key;
create index concurrently one_time_tokens_email_ct_key on auth.one_time_tokens (substring(email_ct from 1 for 5));
drop index concurrently if exists auth.sessions_client_ct_key;
create index concurrently sessions_client_ct_key on auth.sessions (substring(client_ct from 1 for 5));
drop index concurrently if exists auth.totp_secret_ct_key;
create index concurrently totp_secret_ct_key on auth.totp (substring(secret_ct from 1 for 5));
drop index concurrently if exists auth.audit_addresses_address_ct_key;
create index concurrently audit_addresses_address_ct_key on auth.audit_addresses (substring(address_ct from 1 for 5));
reset lock_timeout;
