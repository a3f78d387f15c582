-- Signups as they arrive: attribution and schema ids, what validation costs, outcomes for their topic, and people who are forgotten.

ALTER TABLE {schema}.event
    ADD COLUMN attribution  jsonb,
    ADD COLUMN schema_id    integer,
    ADD COLUMN forgotten_at timestamptz;

-- Who asks for a person asks by phone. On a large table it may have been made beforehand, CONCURRENTLY and under this name; one that was left
-- invalid by an attempt that failed would be passed over for ever.
DO $index$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_index i
               WHERE i.indexrelid = to_regclass($name${schema}.event_phone$name$) AND NOT i.indisvalid) THEN
        DROP INDEX {schema}.event_phone;
    END IF;
END
$index$;
CREATE INDEX IF NOT EXISTS event_phone ON {schema}.event (phone_number);

-- What validation costs: a row for each worker, so that none waits for another's.
CREATE TABLE {schema}.validation_day (
    day      date NOT NULL,
    worker   uuid NOT NULL,
    lookups  bigint NOT NULL,
    paid     bigint NOT NULL,
    cost_usd numeric NOT NULL,
    CONSTRAINT validation_day_pkey PRIMARY KEY (day, worker)
) WITH (fillfactor = 50);

-- Final outcomes that are due for their topic: a queue, whose rows are inserted, leased and deleted.
CREATE TABLE {schema}.outcome (
    number      bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    event_id    text COLLATE "C" NOT NULL,
    body        text NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    token       uuid,
    lease_until timestamptz,
    CONSTRAINT outcome_pkey PRIMARY KEY (number)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000
);

-- The proof that somebody was forgotten.
CREATE TABLE {schema}.erasure (
    erasure_id  bigint GENERATED ALWAYS AS IDENTITY,
    erased_at   timestamptz NOT NULL DEFAULT now(),
    who         text NOT NULL,
    reason      text,
    salt        bytea NOT NULL,
    phone_hash  bytea NOT NULL,
    events      bigint NOT NULL,
    not_sent    bigint NOT NULL,
    renamed     bigint NOT NULL,
    warnings    bigint NOT NULL,
    attempts    bigint NOT NULL,
    validations bigint NOT NULL,
    CONSTRAINT erasure_pkey PRIMARY KEY (erasure_id)
);

-- Event ids that held the phone of somebody who was forgotten, as hashes: a record that is read again must still find that it is answered
-- for. One salt for all of them, because they are looked up by the hash.
CREATE TABLE {schema}.forgotten_id (
    id_hash    bytea NOT NULL,
    erasure_id bigint NOT NULL,
    CONSTRAINT forgotten_id_pkey PRIMARY KEY (id_hash)
);
CREATE TABLE {schema}.forgotten_salt (
    only_one boolean NOT NULL DEFAULT true CHECK (only_one),
    salt     bytea NOT NULL,
    CONSTRAINT forgotten_salt_pkey PRIMARY KEY (only_one)
);
INSERT INTO {schema}.forgotten_salt (salt)
VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

-- By the code that the worker gives such a warning; rows of before this version are known by their words.
CREATE OR REPLACE VIEW {schema}.journey_gap AS
SELECT e.list_number,
       count(DISTINCT w.event_id) AS events,
       count(DISTINCT e.phone_number) AS contacts,
       min(w.at) AS first_at,
       max(w.at) AS last_at,
       min(w.message) AS message
FROM {schema}.warning w
JOIN {schema}.event e ON e.event_id = w.event_id
WHERE w.source = 'api'
  AND (w.code = 'journeys_not_used'
       OR (w.message ILIKE '%journey%' AND w.at < (SELECT v.applied_at FROM {schema}.schema_version v WHERE v.version = 5)))
GROUP BY e.list_number;

-- A validation that came from the ledger's own memory is in its row as one that cost nothing. The day is that of the event's end, of an event
-- that has none yet that of its arrival; what was spent on each day is in validation_budget.
CREATE OR REPLACE VIEW {schema}.validation_spend AS
SELECT (coalesce(e.finished_at, e.received_at) AT TIME ZONE 'UTC')::date AS day,
       e.list_number,
       coalesce(e.validation ->> 'disposition', '') AS disposition,
       count(*) AS validations,
       count(*) FILTER (WHERE e.validation -> 'cached' = 'false'::jsonb) AS paid_lookups,
       coalesce(sum(CASE WHEN jsonb_typeof(e.validation -> 'cost') = 'number'
                         THEN (e.validation ->> 'cost')::numeric END), 0) AS cost_usd
FROM {schema}.event e
WHERE e.validation IS NOT NULL
GROUP BY 1, 2, 3;

CREATE VIEW {schema}.validation_budget AS
SELECT v.day,
       count(*) AS workers,
       sum(v.lookups)::bigint AS lookups,
       sum(v.paid)::bigint AS paid_lookups,
       sum(v.cost_usd) AS cost_usd
FROM {schema}.validation_day v
GROUP BY v.day;

-- Ask it by phone_number.
CREATE VIEW {schema}.consent_trail AS
SELECT e.phone_number,
       e.list_number,
       e.received_at,
       e.signup_date,
       e.url,
       e.ip_address,
       e.consent ->> 'text' AS consent_text,
       e.consent,
       e.state,
       e.code,
       e.error,
       e.http_status,
       e.finished_at,
       e.contact_id,
       e.list_contact_id,
       e.is_new_contact,
       e.is_new_list_contact,
       e.ad_network_source,
       e.ad_network_id,
       e.attribution,
       e.request,
       e.event_id,
       e.topic || ':' || e.partition || ':' || e."offset" AS source,
       e.sources,
       e.schema_id,
       e.attempts,
       e.maybe_sent,
       (SELECT jsonb_agg(jsonb_build_object('at', w.at, 'source', w.source, 'code', w.code, 'message', w.message)
                         ORDER BY w.at, w.source, w.code, w.message)
        FROM {schema}.warning w WHERE w.event_id = e.event_id) AS warnings
FROM {schema}.event e;

-- Whoever could write before can do what this version needs besides; whoever may write may also forget. Who could read an event may read what
-- was made of it.
DO $grant$
DECLARE
    may record;
    who text;
BEGIN
    FOR may IN
        SELECT a.grantee, bool_or(a.privilege_type = 'UPDATE') AS writes
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
        WHERE c.oid = $name${schema}.event$name$::regclass AND a.privilege_type IN ('SELECT', 'UPDATE')
          AND a.grantee <> c.relowner
        GROUP BY a.grantee
    LOOP
        who := CASE WHEN may.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(may.grantee)) END;
        EXECUTE $sql$GRANT SELECT ON {schema}.validation_day, {schema}.validation_budget, {schema}.consent_trail,
            {schema}.erasure TO $sql$ || who;
        CONTINUE WHEN NOT may.writes;
        EXECUTE $sql$GRANT SELECT, INSERT, UPDATE ON {schema}.validation_day TO $sql$ || who;
        EXECUTE $sql$GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.outcome TO $sql$ || who;
        EXECUTE $sql$GRANT SELECT, INSERT ON {schema}.erasure, {schema}.forgotten_id TO $sql$ || who;
        EXECUTE $sql$GRANT SELECT ON {schema}.forgotten_salt TO $sql$ || who;
        EXECUTE $sql$GRANT DELETE ON {schema}.warning, {schema}.attempt, {schema}.phone_validation TO $sql$ || who;
    END LOOP;
END
$grant$;

COMMENT ON COLUMN {schema}.event.validation IS
    'What is known of the phone: the reply of the look-up made for this event, or what the ledger remembered, told as cost 0 and cached.';
COMMENT ON COLUMN {schema}.event.attribution IS 'Click ids and campaign parameters as they came, from the event or its landing URL.';
COMMENT ON COLUMN {schema}.event.schema_id IS 'The schema''s id in Confluent''s wire format; null: the record had none.';
COMMENT ON COLUMN {schema}.event.forgotten_at IS
    'When the event''s person was forgotten: nothing of them is left in the row, which is kept so that the record is not signed up again.';
COMMENT ON INDEX {schema}.event_phone IS 'Every event of a phone: signup-worker consent and forget.';
COMMENT ON TABLE {schema}.validation_day IS 'What phone validation has cost: one row per day (UTC) and worker, so that none waits for another.';
COMMENT ON COLUMN {schema}.validation_day.worker IS 'A number that each worker draws when it starts.';
COMMENT ON COLUMN {schema}.validation_day.lookups IS 'Look-ups that were made: not those that the ledger''s memory answered.';
COMMENT ON COLUMN {schema}.validation_day.paid IS 'Those of them that cost something: the vendor gives the others free.';
COMMENT ON TABLE {schema}.outcome IS 'Final outcomes that are due for kafka.outcomes_topic: a row is deleted once the broker has it.';
COMMENT ON COLUMN {schema}.outcome.body IS 'The record for the topic.';
COMMENT ON COLUMN {schema}.outcome.lease_until IS 'Until then it is being published, or, after a failure, waits.';
COMMENT ON TABLE {schema}.erasure IS 'One row per person who was forgotten: the proof that it was done.';
COMMENT ON COLUMN {schema}.erasure.phone_hash IS 'SHA-256 of the salt and, behind it, the phone number in E.164 as ASCII.';
COMMENT ON COLUMN {schema}.erasure.events IS 'Events that were scrubbed.';
COMMENT ON COLUMN {schema}.erasure.not_sent IS 'Those of them that were still waiting: they will not be sent.';
COMMENT ON COLUMN {schema}.erasure.renamed IS 'Those of them whose event_id held the phone: they are named by their position now.';
COMMENT ON TABLE {schema}.forgotten_id IS 'Hashes of event ids that held the phone of somebody who was forgotten: their records stay answered for.';
COMMENT ON COLUMN {schema}.forgotten_id.id_hash IS 'SHA-256 of the ledger''s salt (forgotten_salt) and, behind it, the event_id.';
COMMENT ON TABLE {schema}.forgotten_salt IS 'The salt of forgotten_id, drawn when the table was made.';
COMMENT ON VIEW {schema}.journey_gap IS 'Lists whose signups miss journeys, by the API''s own warnings.';
COMMENT ON VIEW {schema}.validation_spend IS 'What the validations that events carry have cost, by the day of their end, list and disposition.';
COMMENT ON VIEW {schema}.validation_budget IS 'What validation has cost on each day (UTC), as the daily budget counts it.';
COMMENT ON VIEW {schema}.consent_trail IS 'The evidence of consent, one row per event; ask it by phone_number.';
