-- +goose Up
-- +goose NO TRANSACTION
-- To find what an old key has sealed (0002), and those that are disabled, among very many that are not.
-- Everybody goes on while they are made, which wants no transaction; what fails in the middle is run again from its beginning.
set lock_timeout = 0;
drop index concurrently if exists users.users_email_ct_key;
create index concurrently users_email_ct_key on users.users (substring(email_ct from 1 for 5));
drop index concurrently if exists users.users_name_ct_key;
create index concurrently users_name_ct_key on users.users (substring(name_ct from 1 for 5));
drop index concurrently if exists users.users_status;
create index concurrently users_status on users.users (status, id);
reset lock_timeout;
