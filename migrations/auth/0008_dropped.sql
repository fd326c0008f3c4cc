-- +goose Up
-- What was asked for by mail and dropped again stays for as long as it would have counted, since its mail counts among those of an hour. Its
-- digest is hashed once more then, so that nothing finds it by the token of the mail, not even a program that does not know this column.
alter table auth.one_time_tokens add column dropped_at timestamptz;
grant update (dropped_at, token_digest) on auth.one_time_tokens to groundwork_auth;
