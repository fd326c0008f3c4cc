-- +goose Up
-- What was mailed is counted, not what was asked for: a stranger who asks again and again keeps nobody from a mail that counts.
alter table auth.one_time_tokens add column mailed_at timestamptz;
grant update (mailed_at) on auth.one_time_tokens to groundwork_auth;
