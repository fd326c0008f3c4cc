-- The schema of transactions as v0.2.0 had it, with the data of its demo: TestMigrationsFromARelease brings it up to today. Made by
-- pg_dump --schema=transactions --inserts --no-owner, less its comments. It is never changed.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA transactions;
CREATE TYPE transactions.river_job_state AS ENUM (
    'available',
    'cancelled',
    'completed',
    'discarded',
    'pending',
    'retryable',
    'running',
    'scheduled'
);
CREATE FUNCTION transactions.check_entries() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  if exists (select from added group by transaction_id, currency having sum(amount) <> 0) then
    raise exception 'entries do not sum to zero' using errcode = 'check_violation', constraint = 'entries_sum_to_zero';
  end if;
  -- A balanced pair added to an old transaction would rewrite history as well.
  if exists (select from added join transactions.transactions t on t.id = added.transaction_id where t.created_xid <> pg_current_xact_id()) then
    raise exception 'entries come too late for their transaction' using errcode = 'check_violation', constraint = 'entries_in_time';
  end if;
  return null;
end $$;
CREATE FUNCTION transactions.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;
CREATE FUNCTION transactions.river_job_state_in_bitmask(bitmask bit, state transactions.river_job_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending'   THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running'   THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE transactions.account_notes (
    account_id uuid NOT NULL,
    name text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT account_notes_metadata_check CHECK ((pg_column_size(metadata) <= 65536)),
    CONSTRAINT account_notes_name_check CHECK ((length(name) <= 200))
);
CREATE TABLE transactions.accounts (
    id uuid NOT NULL,
    owner_id uuid,
    kind text NOT NULL,
    currency text NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT accounts_kind_check CHECK ((kind = ANY (ARRAY['customer'::text, 'clearing'::text, 'revenue'::text, 'external'::text]))),
    CONSTRAINT accounts_owner_check CHECK (((kind = 'customer'::text) = (owner_id IS NOT NULL)))
);
CREATE TABLE transactions.balances (
    account_id uuid NOT NULL,
    currency text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    posted bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    floor bigint,
    entry_version bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT balances_floor_check CHECK (((floor IS NULL) OR ((posted - held) >= floor))),
    CONSTRAINT balances_held_check CHECK ((held >= 0)),
    CONSTRAINT balances_posted_check CHECK ((abs(posted) <= '9007199254740991'::bigint)),
    CONSTRAINT balances_status_check CHECK ((status = ANY (ARRAY['active'::text, 'frozen'::text, 'closed'::text])))
)
WITH (fillfactor='50');
CREATE TABLE transactions.currencies (
    code text NOT NULL,
    exponent smallint NOT NULL,
    CONSTRAINT currencies_code_check CHECK ((code ~ '^[A-Z]{3}$'::text))
);
CREATE TABLE transactions.entries (
    transaction_id uuid NOT NULL,
    seq integer NOT NULL,
    account_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    balance_after bigint NOT NULL,
    account_version bigint NOT NULL,
    CONSTRAINT entries_account_version_check CHECK ((account_version > 0)),
    CONSTRAINT entries_amount_check CHECK ((amount <> 0)),
    CONSTRAINT entries_seq_check CHECK ((seq > 0))
);
CREATE TABLE transactions.idempotency_keys (
    principal_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE transactions.river_job (
    id bigint NOT NULL,
    state transactions.river_job_state DEFAULT 'available'::transactions.river_job_state NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    max_attempts smallint DEFAULT 25 NOT NULL,
    attempted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finalized_at timestamp with time zone,
    scheduled_at timestamp with time zone DEFAULT now() NOT NULL,
    priority smallint DEFAULT 1 NOT NULL,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    tags character varying(255)[] DEFAULT '{}'::character varying[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK ((((finalized_at IS NULL) AND (state <> ALL (ARRAY['cancelled'::transactions.river_job_state, 'completed'::transactions.river_job_state, 'discarded'::transactions.river_job_state]))) OR ((finalized_at IS NOT NULL) AND (state = ANY (ARRAY['cancelled'::transactions.river_job_state, 'completed'::transactions.river_job_state, 'discarded'::transactions.river_job_state]))))),
    CONSTRAINT kind_length CHECK (((char_length(kind) > 0) AND (char_length(kind) < 128))),
    CONSTRAINT max_attempts_is_positive CHECK ((max_attempts > 0)),
    CONSTRAINT priority_in_range CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT queue_length CHECK (((char_length(queue) > 0) AND (char_length(queue) < 128)))
);
CREATE SEQUENCE transactions.river_job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE transactions.river_job_id_seq OWNED BY transactions.river_job.id;
CREATE UNLOGGED TABLE transactions.river_leader (
    elected_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    leader_id text NOT NULL,
    name text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT leader_id_length CHECK (((char_length(leader_id) > 0) AND (char_length(leader_id) < 128))),
    CONSTRAINT name_length CHECK ((name = 'default'::text))
);
CREATE TABLE transactions.river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT line_length CHECK (((char_length(line) > 0) AND (char_length(line) < 128))),
    CONSTRAINT version_gte_1 CHECK ((version >= 1))
);
CREATE TABLE transactions.river_notification (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (((length(topic) > 0) AND (length(topic) < 128)))
);
CREATE SEQUENCE transactions.river_notification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE transactions.river_notification_id_seq OWNED BY transactions.river_notification.id;
CREATE TABLE transactions.river_queue (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    paused_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE TABLE transactions.schema_version (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE transactions.schema_version ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME transactions.schema_version_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE transactions.transaction_notes (
    transaction_id uuid NOT NULL,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT transaction_notes_description_check CHECK ((length(description) <= 500)),
    CONSTRAINT transaction_notes_metadata_check CHECK ((pg_column_size(metadata) <= 65536))
);
CREATE TABLE transactions.transaction_references (
    created_by uuid NOT NULL,
    reference text NOT NULL,
    transaction_id uuid NOT NULL,
    CONSTRAINT transaction_references_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 255)))
);
CREATE TABLE transactions.transactions (
    id uuid NOT NULL,
    kind text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by uuid NOT NULL,
    created_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    request_id text NOT NULL,
    CONSTRAINT transactions_kind_check CHECK ((kind = ANY (ARRAY['transfer'::text, 'capture'::text, 'reversal'::text])))
);
ALTER TABLE ONLY transactions.river_job ALTER COLUMN id SET DEFAULT nextval('transactions.river_job_id_seq'::regclass);
ALTER TABLE ONLY transactions.river_notification ALTER COLUMN id SET DEFAULT nextval('transactions.river_notification_id_seq'::regclass);
INSERT INTO transactions.account_notes VALUES ('01a20f52-54a9-719b-81fd-335dd58f5a8f', 'Everyday', '{}');
INSERT INTO transactions.account_notes VALUES ('01a20f52-54ae-783b-a14e-4a1d76dbeb10', NULL, '{}');
INSERT INTO transactions.account_notes VALUES ('01a20f52-54b0-7ae7-8c57-8063aa0d9a2a', NULL, '{}');
INSERT INTO transactions.accounts VALUES ('01a20f52-54a9-719b-81fd-335dd58f5a8f', '01a20f52-5317-7e8e-9d6c-a6f46debd3d2', 'customer', 'EUR', 1, '2026-11-24 20:49:43.593105+00');
INSERT INTO transactions.accounts VALUES ('01a20f52-54ae-783b-a14e-4a1d76dbeb10', '01a20f52-544f-7255-bb4c-9d08aad796e6', 'customer', 'EUR', 1, '2026-11-24 20:49:43.598539+00');
INSERT INTO transactions.accounts VALUES ('01a20f52-54b0-7ae7-8c57-8063aa0d9a2a', NULL, 'external', 'EUR', 1, '2026-11-24 20:49:43.600714+00');
INSERT INTO transactions.balances VALUES ('01a20f52-54b0-7ae7-8c57-8063aa0d9a2a', 'EUR', 'active', -10000, 0, NULL, 1, 2, '2026-11-24 20:49:43.615704+00');
INSERT INTO transactions.balances VALUES ('01a20f52-54a9-719b-81fd-335dd58f5a8f', 'EUR', 'active', 7500, 0, 0, 2, 3, '2026-11-24 20:49:43.626155+00');
INSERT INTO transactions.balances VALUES ('01a20f52-54ae-783b-a14e-4a1d76dbeb10', 'EUR', 'active', 2500, 0, 0, 1, 2, '2026-11-24 20:49:43.62624+00');
INSERT INTO transactions.currencies VALUES ('BIF', 0);
INSERT INTO transactions.currencies VALUES ('CLP', 0);
INSERT INTO transactions.currencies VALUES ('DJF', 0);
INSERT INTO transactions.currencies VALUES ('GNF', 0);
INSERT INTO transactions.currencies VALUES ('ISK', 0);
INSERT INTO transactions.currencies VALUES ('JPY', 0);
INSERT INTO transactions.currencies VALUES ('KMF', 0);
INSERT INTO transactions.currencies VALUES ('KRW', 0);
INSERT INTO transactions.currencies VALUES ('PYG', 0);
INSERT INTO transactions.currencies VALUES ('RWF', 0);
INSERT INTO transactions.currencies VALUES ('UGX', 0);
INSERT INTO transactions.currencies VALUES ('UYI', 0);
INSERT INTO transactions.currencies VALUES ('VND', 0);
INSERT INTO transactions.currencies VALUES ('VUV', 0);
INSERT INTO transactions.currencies VALUES ('XAF', 0);
INSERT INTO transactions.currencies VALUES ('XOF', 0);
INSERT INTO transactions.currencies VALUES ('XPF', 0);
INSERT INTO transactions.currencies VALUES ('AED', 2);
INSERT INTO transactions.currencies VALUES ('AFN', 2);
INSERT INTO transactions.currencies VALUES ('ALL', 2);
INSERT INTO transactions.currencies VALUES ('AMD', 2);
INSERT INTO transactions.currencies VALUES ('AOA', 2);
INSERT INTO transactions.currencies VALUES ('ARS', 2);
INSERT INTO transactions.currencies VALUES ('AUD', 2);
INSERT INTO transactions.currencies VALUES ('AWG', 2);
INSERT INTO transactions.currencies VALUES ('AZN', 2);
INSERT INTO transactions.currencies VALUES ('BAM', 2);
INSERT INTO transactions.currencies VALUES ('BBD', 2);
INSERT INTO transactions.currencies VALUES ('BDT', 2);
INSERT INTO transactions.currencies VALUES ('BMD', 2);
INSERT INTO transactions.currencies VALUES ('BND', 2);
INSERT INTO transactions.currencies VALUES ('BOB', 2);
INSERT INTO transactions.currencies VALUES ('BOV', 2);
INSERT INTO transactions.currencies VALUES ('BRL', 2);
INSERT INTO transactions.currencies VALUES ('BSD', 2);
INSERT INTO transactions.currencies VALUES ('BTN', 2);
INSERT INTO transactions.currencies VALUES ('BWP', 2);
INSERT INTO transactions.currencies VALUES ('BYN', 2);
INSERT INTO transactions.currencies VALUES ('BZD', 2);
INSERT INTO transactions.currencies VALUES ('CAD', 2);
INSERT INTO transactions.currencies VALUES ('CDF', 2);
INSERT INTO transactions.currencies VALUES ('CHE', 2);
INSERT INTO transactions.currencies VALUES ('CHF', 2);
INSERT INTO transactions.currencies VALUES ('CHW', 2);
INSERT INTO transactions.currencies VALUES ('CNY', 2);
INSERT INTO transactions.currencies VALUES ('COP', 2);
INSERT INTO transactions.currencies VALUES ('COU', 2);
INSERT INTO transactions.currencies VALUES ('CRC', 2);
INSERT INTO transactions.currencies VALUES ('CUP', 2);
INSERT INTO transactions.currencies VALUES ('CVE', 2);
INSERT INTO transactions.currencies VALUES ('CZK', 2);
INSERT INTO transactions.currencies VALUES ('DKK', 2);
INSERT INTO transactions.currencies VALUES ('DOP', 2);
INSERT INTO transactions.currencies VALUES ('DZD', 2);
INSERT INTO transactions.currencies VALUES ('EGP', 2);
INSERT INTO transactions.currencies VALUES ('ERN', 2);
INSERT INTO transactions.currencies VALUES ('ETB', 2);
INSERT INTO transactions.currencies VALUES ('EUR', 2);
INSERT INTO transactions.currencies VALUES ('FJD', 2);
INSERT INTO transactions.currencies VALUES ('FKP', 2);
INSERT INTO transactions.currencies VALUES ('GBP', 2);
INSERT INTO transactions.currencies VALUES ('GEL', 2);
INSERT INTO transactions.currencies VALUES ('GHS', 2);
INSERT INTO transactions.currencies VALUES ('GIP', 2);
INSERT INTO transactions.currencies VALUES ('GMD', 2);
INSERT INTO transactions.currencies VALUES ('GTQ', 2);
INSERT INTO transactions.currencies VALUES ('GYD', 2);
INSERT INTO transactions.currencies VALUES ('HKD', 2);
INSERT INTO transactions.currencies VALUES ('HNL', 2);
INSERT INTO transactions.currencies VALUES ('HTG', 2);
INSERT INTO transactions.currencies VALUES ('HUF', 2);
INSERT INTO transactions.currencies VALUES ('IDR', 2);
INSERT INTO transactions.currencies VALUES ('ILS', 2);
INSERT INTO transactions.currencies VALUES ('INR', 2);
INSERT INTO transactions.currencies VALUES ('IRR', 2);
INSERT INTO transactions.currencies VALUES ('JMD', 2);
INSERT INTO transactions.currencies VALUES ('KES', 2);
INSERT INTO transactions.currencies VALUES ('KGS', 2);
INSERT INTO transactions.currencies VALUES ('KHR', 2);
INSERT INTO transactions.currencies VALUES ('KPW', 2);
INSERT INTO transactions.currencies VALUES ('KYD', 2);
INSERT INTO transactions.currencies VALUES ('KZT', 2);
INSERT INTO transactions.currencies VALUES ('LAK', 2);
INSERT INTO transactions.currencies VALUES ('LBP', 2);
INSERT INTO transactions.currencies VALUES ('LKR', 2);
INSERT INTO transactions.currencies VALUES ('LRD', 2);
INSERT INTO transactions.currencies VALUES ('LSL', 2);
INSERT INTO transactions.currencies VALUES ('MAD', 2);
INSERT INTO transactions.currencies VALUES ('MDL', 2);
INSERT INTO transactions.currencies VALUES ('MGA', 2);
INSERT INTO transactions.currencies VALUES ('MKD', 2);
INSERT INTO transactions.currencies VALUES ('MMK', 2);
INSERT INTO transactions.currencies VALUES ('MNT', 2);
INSERT INTO transactions.currencies VALUES ('MOP', 2);
INSERT INTO transactions.currencies VALUES ('MRU', 2);
INSERT INTO transactions.currencies VALUES ('MUR', 2);
INSERT INTO transactions.currencies VALUES ('MVR', 2);
INSERT INTO transactions.currencies VALUES ('MWK', 2);
INSERT INTO transactions.currencies VALUES ('MXN', 2);
INSERT INTO transactions.currencies VALUES ('MXV', 2);
INSERT INTO transactions.currencies VALUES ('MYR', 2);
INSERT INTO transactions.currencies VALUES ('MZN', 2);
INSERT INTO transactions.currencies VALUES ('NAD', 2);
INSERT INTO transactions.currencies VALUES ('NGN', 2);
INSERT INTO transactions.currencies VALUES ('NIO', 2);
INSERT INTO transactions.currencies VALUES ('NOK', 2);
INSERT INTO transactions.currencies VALUES ('NPR', 2);
INSERT INTO transactions.currencies VALUES ('NZD', 2);
INSERT INTO transactions.currencies VALUES ('PAB', 2);
INSERT INTO transactions.currencies VALUES ('PEN', 2);
INSERT INTO transactions.currencies VALUES ('PGK', 2);
INSERT INTO transactions.currencies VALUES ('PHP', 2);
INSERT INTO transactions.currencies VALUES ('PKR', 2);
INSERT INTO transactions.currencies VALUES ('PLN', 2);
INSERT INTO transactions.currencies VALUES ('QAR', 2);
INSERT INTO transactions.currencies VALUES ('RON', 2);
INSERT INTO transactions.currencies VALUES ('RSD', 2);
INSERT INTO transactions.currencies VALUES ('RUB', 2);
INSERT INTO transactions.currencies VALUES ('SAR', 2);
INSERT INTO transactions.currencies VALUES ('SBD', 2);
INSERT INTO transactions.currencies VALUES ('SCR', 2);
INSERT INTO transactions.currencies VALUES ('SDG', 2);
INSERT INTO transactions.currencies VALUES ('SEK', 2);
INSERT INTO transactions.currencies VALUES ('SGD', 2);
INSERT INTO transactions.currencies VALUES ('SHP', 2);
INSERT INTO transactions.currencies VALUES ('SLE', 2);
INSERT INTO transactions.currencies VALUES ('SOS', 2);
INSERT INTO transactions.currencies VALUES ('SRD', 2);
INSERT INTO transactions.currencies VALUES ('SSP', 2);
INSERT INTO transactions.currencies VALUES ('STN', 2);
INSERT INTO transactions.currencies VALUES ('SVC', 2);
INSERT INTO transactions.currencies VALUES ('SYP', 2);
INSERT INTO transactions.currencies VALUES ('SZL', 2);
INSERT INTO transactions.currencies VALUES ('THB', 2);
INSERT INTO transactions.currencies VALUES ('TJS', 2);
INSERT INTO transactions.currencies VALUES ('TMT', 2);
INSERT INTO transactions.currencies VALUES ('TOP', 2);
INSERT INTO transactions.currencies VALUES ('TRY', 2);
INSERT INTO transactions.currencies VALUES ('TTD', 2);
INSERT INTO transactions.currencies VALUES ('TWD', 2);
INSERT INTO transactions.currencies VALUES ('TZS', 2);
INSERT INTO transactions.currencies VALUES ('UAH', 2);
INSERT INTO transactions.currencies VALUES ('USD', 2);
INSERT INTO transactions.currencies VALUES ('USN', 2);
INSERT INTO transactions.currencies VALUES ('UYU', 2);
INSERT INTO transactions.currencies VALUES ('UZS', 2);
INSERT INTO transactions.currencies VALUES ('VED', 2);
INSERT INTO transactions.currencies VALUES ('VES', 2);
INSERT INTO transactions.currencies VALUES ('WST', 2);
INSERT INTO transactions.currencies VALUES ('XAD', 2);
INSERT INTO transactions.currencies VALUES ('XCD', 2);
INSERT INTO transactions.currencies VALUES ('XCG', 2);
INSERT INTO transactions.currencies VALUES ('YER', 2);
INSERT INTO transactions.currencies VALUES ('ZAR', 2);
INSERT INTO transactions.currencies VALUES ('ZMW', 2);
INSERT INTO transactions.currencies VALUES ('ZWG', 2);
INSERT INTO transactions.currencies VALUES ('BHD', 3);
INSERT INTO transactions.currencies VALUES ('IQD', 3);
INSERT INTO transactions.currencies VALUES ('JOD', 3);
INSERT INTO transactions.currencies VALUES ('KWD', 3);
INSERT INTO transactions.currencies VALUES ('LYD', 3);
INSERT INTO transactions.currencies VALUES ('OMR', 3);
INSERT INTO transactions.currencies VALUES ('TND', 3);
INSERT INTO transactions.currencies VALUES ('CLF', 4);
INSERT INTO transactions.currencies VALUES ('UYW', 4);
INSERT INTO transactions.entries VALUES ('01a20f52-54b2-7664-a1ca-0b5f9c1ca337', 1, '01a20f52-54b0-7ae7-8c57-8063aa0d9a2a', -10000, 'EUR', -10000, 1);
INSERT INTO transactions.entries VALUES ('01a20f52-54b2-7664-a1ca-0b5f9c1ca337', 2, '01a20f52-54a9-719b-81fd-335dd58f5a8f', 10000, 'EUR', 10000, 1);
INSERT INTO transactions.entries VALUES ('01a20f52-54c8-71da-8d70-88e8836a36d3', 1, '01a20f52-54a9-719b-81fd-335dd58f5a8f', -2500, 'EUR', 7500, 2);
INSERT INTO transactions.entries VALUES ('01a20f52-54c8-71da-8d70-88e8836a36d3', 2, '01a20f52-54ae-783b-a14e-4a1d76dbeb10', 2500, 'EUR', 2500, 1);
INSERT INTO transactions.idempotency_keys VALUES ('01a20f52-4873-7753-a5d6-208a32391fa2', 'top-up-tin2vs', '\xee639abae116717cea99cf81fccb516c6e60305095ce3db80a34c1509b226f52', 201, '{"Location": ["/v1/transactions/01a20f52-54b2-7664-a1ca-0b5f9c1ca337"], "Content-Type": ["application/json"]}', '\x7b22637265617465645f6174223a22323032362d31312d32345432303a34393a34332e3630323431385a222c22637265617465645f6279223a2230316132306635322d343837332d373735332d613564362d323038613332333931666132222c226964223a2230316132306635322d353462322d373636342d613163612d306235663963316361333337222c226b696e64223a227472616e73666572222c226d65746164617461223a7b7d2c226f636375727265645f6174223a22323032362d31312d32345432303a34393a34332e3630323431385a222c22706f7374696e6773223a5b7b22616d6f756e74223a31303030302c2263757272656e6379223a22455552222c2266726f6d223a2230316132306635322d353462302d376165372d386335372d383036336161306439613261222c22746f223a2230316132306635322d353461392d373139622d383166642d333335646435386635613866227d5d7d0a', '2026-11-24 20:49:43.602726+00', '2026-11-25 20:49:43.602726+00');
INSERT INTO transactions.idempotency_keys VALUES ('01a20f52-5317-7e8e-9d6c-a6f46debd3d2', 'rent-tin2vs', '\x6a040347a2dd27d4604c8f133cd03674ab1ea16ca6d0f059ff81d1b24f84861f', 201, '{"Location": ["/v1/transactions/01a20f52-54c8-71da-8d70-88e8836a36d3"], "Content-Type": ["application/json"]}', '\x7b22637265617465645f6174223a22323032362d31312d32345432303a34393a34332e3632343132315a222c22637265617465645f6279223a2230316132306635322d353331372d376538652d396436632d613666343664656264336432222c226964223a2230316132306635322d353463382d373164612d386437302d383865383833366133366433222c226b696e64223a227472616e73666572222c226d65746164617461223a7b7d2c226f636375727265645f6174223a22323032362d31312d32345432303a34393a34332e3632343132315a222c22706f7374696e6773223a5b7b22616d6f756e74223a323530302c2263757272656e6379223a22455552222c2266726f6d223a2230316132306635322d353461392d373139622d383166642d333335646435386635613866222c22746f223a2230316132306635322d353461652d373833622d613134652d346131643736646265623130227d5d7d0a', '2026-11-24 20:49:43.624491+00', '2026-11-25 20:49:43.624491+00');
INSERT INTO transactions.idempotency_keys VALUES ('01a20f52-5317-7e8e-9d6c-a6f46debd3d2', 'yacht-tin2vs', '\x548eacca9d0388d0356d3d23f053de3699f793b151b3bf93cf09270f33b3820f', 422, '{"Content-Type": ["application/problem+json"]}', '\x7b2274797065223a2275726e3a70726f626c656d3a696e73756666696369656e742d66756e6473222c227469746c65223a225468652072657175657374206973206e6f7420616c6c6f776564206173206974206973222c22737461747573223a3432322c2264657461696c223a225468657265206973206e6f7420656e6f756768206d6f6e657920696e20616e206163636f756e742e222c22696e7374616e6365223a222f76312f7472616e73616374696f6e73222c22636f6465223a22696e73756666696369656e742d66756e6473222c22726571756573745f6964223a2230316132306635322d353463652d376562302d623836622d663339313064653133353630222c226572726f7273223a5b7b22706f696e746572223a222f706f7374696e67732f302f616d6f756e74222c22636f6465223a22696e73756666696369656e742d66756e6473222c2264657461696c223a226973206d6f7265207468616e20697320617661696c61626c65227d5d7d0a', '2026-11-24 20:49:43.631408+00', '2026-11-25 20:49:43.631408+00');
INSERT INTO transactions.idempotency_keys VALUES ('01a20f52-544f-7255-bb4c-9d08aad796e6', 'theft-tin2vs', '\x82f1245607c167c1d1c05554c352dca473a6061f7f1b387ef4033603f1052cc8', 404, '{"Content-Type": ["application/problem+json"]}', '\x7b2274797065223a2275726e3a70726f626c656d3a6e6f742d666f756e64222c227469746c65223a224e6f7420666f756e64222c22737461747573223a3430342c2264657461696c223a22416e206163636f756e74206f662074686520706f7374696e6773206973206e6f742074686572652e222c22696e7374616e6365223a222f76312f7472616e73616374696f6e73222c22636f6465223a226e6f742d666f756e64222c22726571756573745f6964223a2230316132306635322d353464322d373031372d393138392d623962646335313665356133222c226572726f7273223a5b7b22706f696e746572223a222f706f7374696e67732f302f66726f6d222c22636f6465223a226e6f742d666f756e64222c2264657461696c223a226973206e6f742074686572652c206f72206e6f7420796f75727320746f206465626974227d5d7d0a', '2026-11-24 20:49:43.634557+00', '2026-11-25 20:49:43.634557+00');
INSERT INTO transactions.river_leader VALUES ('2026-11-24 20:49:40.6012+00', '2026-11-24 20:49:55.6012+00', 'vm_2026_11_24T20_49_40_562362', 'default');
INSERT INTO transactions.river_migration VALUES ('main', 1, '2026-11-24 20:49:40.0924+00');
INSERT INTO transactions.river_migration VALUES ('main', 2, '2026-11-24 20:49:40.098302+00');
INSERT INTO transactions.river_migration VALUES ('main', 3, '2026-11-24 20:49:40.126095+00');
INSERT INTO transactions.river_migration VALUES ('main', 4, '2026-11-24 20:49:40.130413+00');
INSERT INTO transactions.river_migration VALUES ('main', 5, '2026-11-24 20:49:40.145764+00');
INSERT INTO transactions.river_migration VALUES ('main', 6, '2026-11-24 20:49:40.184663+00');
INSERT INTO transactions.river_migration VALUES ('main', 7, '2026-11-24 20:49:40.194813+00');
INSERT INTO transactions.river_migration VALUES ('main', 8, '2026-11-24 20:49:40.219235+00');
INSERT INTO transactions.river_queue VALUES ('default', '2026-11-24 20:49:40.597801+00', '{}', NULL, '2026-11-24 20:49:40.597801+00');
INSERT INTO transactions.schema_version VALUES (1, 0, true, '2026-11-24 20:49:40.227216');
INSERT INTO transactions.schema_version VALUES (2, 1, true, '2026-11-24 20:49:40.238411');
INSERT INTO transactions.transactions VALUES ('01a20f52-54b2-7664-a1ca-0b5f9c1ca337', 'transfer', '2026-11-24 20:49:43.602418+00', '2026-11-24 20:49:43.602418+00', '01a20f52-4873-7753-a5d6-208a32391fa2', '805', '01a20f52-54b2-7431-aed5-a025b75f6dbb');
INSERT INTO transactions.transactions VALUES ('01a20f52-54c8-71da-8d70-88e8836a36d3', 'transfer', '2026-11-24 20:49:43.624121+00', '2026-11-24 20:49:43.624121+00', '01a20f52-5317-7e8e-9d6c-a6f46debd3d2', '806', '01a20f52-54c7-7df8-b969-2fc83961d778');
SELECT pg_catalog.setval('transactions.river_job_id_seq', 1, false);
SELECT pg_catalog.setval('transactions.river_notification_id_seq', 1, false);
SELECT pg_catalog.setval('transactions.schema_version_id_seq', 2, true);
ALTER TABLE ONLY transactions.account_notes
    ADD CONSTRAINT account_notes_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY transactions.accounts
    ADD CONSTRAINT accounts_currency_key UNIQUE (id, currency);
ALTER TABLE ONLY transactions.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY transactions.balances
    ADD CONSTRAINT balances_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY transactions.currencies
    ADD CONSTRAINT currencies_pkey PRIMARY KEY (code);
ALTER TABLE ONLY transactions.entries
    ADD CONSTRAINT entries_account_version_key UNIQUE (account_id, account_version);
ALTER TABLE ONLY transactions.entries
    ADD CONSTRAINT entries_pkey PRIMARY KEY (transaction_id, seq);
ALTER TABLE ONLY transactions.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal_id, key);
ALTER TABLE ONLY transactions.river_job
    ADD CONSTRAINT river_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY transactions.river_leader
    ADD CONSTRAINT river_leader_pkey PRIMARY KEY (name);
ALTER TABLE ONLY transactions.river_migration
    ADD CONSTRAINT river_migration_pkey1 PRIMARY KEY (line, version);
ALTER TABLE ONLY transactions.river_notification
    ADD CONSTRAINT river_notification_pkey PRIMARY KEY (id);
ALTER TABLE ONLY transactions.river_queue
    ADD CONSTRAINT river_queue_pkey PRIMARY KEY (name);
ALTER TABLE ONLY transactions.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY transactions.transaction_notes
    ADD CONSTRAINT transaction_notes_pkey PRIMARY KEY (transaction_id);
ALTER TABLE ONLY transactions.transaction_references
    ADD CONSTRAINT transaction_references_pkey PRIMARY KEY (created_by, reference);
ALTER TABLE ONLY transactions.transaction_references
    ADD CONSTRAINT transaction_references_transaction_key UNIQUE (transaction_id);
ALTER TABLE ONLY transactions.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (id);
CREATE INDEX accounts_owner_id ON transactions.accounts USING btree (owner_id, id);
CREATE INDEX idempotency_keys_expires_at ON transactions.idempotency_keys USING btree (expires_at);
CREATE INDEX river_job_args_index ON transactions.river_job USING gin (args);
CREATE INDEX river_job_kind ON transactions.river_job USING btree (kind);
CREATE INDEX river_job_metadata_index ON transactions.river_job USING gin (metadata);
CREATE INDEX river_job_prioritized_fetching_index ON transactions.river_job USING btree (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_state_and_finalized_at_index ON transactions.river_job USING btree (state, finalized_at) WHERE (finalized_at IS NOT NULL);
CREATE UNIQUE INDEX river_job_unique_idx ON transactions.river_job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (unique_states IS NOT NULL) AND transactions.river_job_state_in_bitmask(unique_states, state));
CREATE INDEX river_notification_created_at_idx ON transactions.river_notification USING btree (created_at);
CREATE INDEX river_notification_topic_id_idx ON transactions.river_notification USING btree (topic, id);
CREATE TRIGGER entries_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON transactions.entries FOR EACH STATEMENT EXECUTE FUNCTION transactions.refuse_change();
CREATE TRIGGER entries_check AFTER INSERT ON transactions.entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION transactions.check_entries();
CREATE TRIGGER transactions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON transactions.transactions FOR EACH STATEMENT EXECUTE FUNCTION transactions.refuse_change();
ALTER TABLE ONLY transactions.account_notes
    ADD CONSTRAINT account_notes_account_id_fkey FOREIGN KEY (account_id) REFERENCES transactions.accounts(id);
ALTER TABLE ONLY transactions.accounts
    ADD CONSTRAINT accounts_currency_fkey FOREIGN KEY (currency) REFERENCES transactions.currencies(code);
ALTER TABLE ONLY transactions.balances
    ADD CONSTRAINT balances_account_id_currency_fkey FOREIGN KEY (account_id, currency) REFERENCES transactions.accounts(id, currency);
ALTER TABLE ONLY transactions.entries
    ADD CONSTRAINT entries_account_id_currency_fkey FOREIGN KEY (account_id, currency) REFERENCES transactions.accounts(id, currency);
ALTER TABLE ONLY transactions.entries
    ADD CONSTRAINT entries_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES transactions.transactions(id);
ALTER TABLE ONLY transactions.transaction_notes
    ADD CONSTRAINT transaction_notes_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES transactions.transactions(id);
ALTER TABLE ONLY transactions.transaction_references
    ADD CONSTRAINT transaction_references_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES transactions.transactions(id);
GRANT USAGE ON SCHEMA transactions TO groundwork_transactions;
GRANT SELECT,INSERT,UPDATE ON TABLE transactions.account_notes TO groundwork_transactions;
GRANT SELECT,INSERT ON TABLE transactions.accounts TO groundwork_transactions;
GRANT UPDATE(version) ON TABLE transactions.accounts TO groundwork_transactions;
GRANT SELECT,INSERT ON TABLE transactions.balances TO groundwork_transactions;
GRANT UPDATE(posted) ON TABLE transactions.balances TO groundwork_transactions;
GRANT UPDATE(entry_version) ON TABLE transactions.balances TO groundwork_transactions;
GRANT UPDATE(version) ON TABLE transactions.balances TO groundwork_transactions;
GRANT UPDATE(updated_at) ON TABLE transactions.balances TO groundwork_transactions;
GRANT SELECT ON TABLE transactions.currencies TO groundwork_transactions;
GRANT SELECT,INSERT ON TABLE transactions.entries TO groundwork_transactions;
GRANT SELECT,INSERT,DELETE ON TABLE transactions.idempotency_keys TO groundwork_transactions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE transactions.river_job TO groundwork_transactions;
GRANT USAGE ON SEQUENCE transactions.river_job_id_seq TO groundwork_transactions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE transactions.river_leader TO groundwork_transactions;
GRANT SELECT ON TABLE transactions.river_migration TO groundwork_transactions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE transactions.river_notification TO groundwork_transactions;
GRANT USAGE ON SEQUENCE transactions.river_notification_id_seq TO groundwork_transactions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE transactions.river_queue TO groundwork_transactions;
GRANT SELECT ON TABLE transactions.schema_version TO groundwork_transactions;
GRANT SELECT,INSERT ON TABLE transactions.transaction_notes TO groundwork_transactions;
GRANT SELECT,INSERT ON TABLE transactions.transaction_references TO groundwork_transactions;
GRANT SELECT ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(id) ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(kind) ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(occurred_at) ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(created_at) ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(created_by) ON TABLE transactions.transactions TO groundwork_transactions;
GRANT INSERT(request_id) ON TABLE transactions.transactions TO groundwork_transactions;
