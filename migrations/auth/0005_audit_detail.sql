-- +goose Up
-- What an audit event means beyond its kind: which roles somebody has after a change, which scopes a key was given. Never about a person.
alter table auth.audit_events add column detail text not null default '';
