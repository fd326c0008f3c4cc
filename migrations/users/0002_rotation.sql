-- +goose Up
-- Keys are rotated while the program runs.

-- A new key seals when it has been in its keyset for long enough, so that every process knows it.
alter table users.keysets add column changed_at timestamptz not null default now();
grant update (encrypted, changed_at) on users.keysets to groundwork_users;

-- What an old key has sealed is sealed again. A ciphertext begins with the id of its key, five bytes: by these it is found and counted
-- (0003). That is a job, the first of this module. River's tables are made before this file runs.
grant select on users.river_migration to groundwork_users;
grant select, insert, update, delete on users.river_job, users.river_leader, users.river_queue, users.river_notification to groundwork_users;
grant usage on sequence users.river_job_id_seq, users.river_notification_id_seq to groundwork_users;
