-- +goose Up
grant usage on schema transactions to groundwork_transactions;
grant select on transactions.schema_version to groundwork_transactions;
