-- +goose Up
-- Keys that have ended are deleted after a while; the audit trail keeps their ids.
grant delete on auth.api_keys to groundwork_auth;
