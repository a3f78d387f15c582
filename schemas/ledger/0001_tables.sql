-- The ledger: one row per event says what became of it. {schema} is replaced by the configured schema, quoted.
-- A file that has been released never changes: the next change is the next number.

CREATE TABLE {schema}.event (
    -- "C": byte order, the one order in which batches are sorted and rows are locked; also the cheapest comparison.
    event_id                 text COLLATE "C" NOT NULL,
    topic                    text COLLATE "C" NOT NULL,
    partition                integer NOT NULL,
    "offset"                 bigint NOT NULL,
    received_at              timestamptz NOT NULL DEFAULT now(),
    state                    text COLLATE "C" NOT NULL,
    phone_number             text COLLATE "C",
    list_number              text COLLATE "C",
    attempts                 integer NOT NULL DEFAULT 0,
    http_status              integer,
    code                     text,
    error                    text,
    error_class              text,
    contact_id               text,
    list_contact_id          text,
    is_new_contact           boolean,
    is_new_list_contact      boolean,
    journeys_enrolled        integer,
    validation               jsonb,
    ip_address               text,
    url                      text,
    signup_date              timestamptz,
    consent                  jsonb,
    ad_network_source        text,
    ad_network_id            text,
    request                  jsonb,
    payload                  bytea,
    headers                  jsonb,
    record_key               bytea,
    record_timestamp_ms      bigint,
    payload_digest           bytea,
    sources                  text[] NOT NULL DEFAULT '{}',
    maybe_sent               boolean NOT NULL DEFAULT false,
    token                    uuid,
    lease_until              timestamptz,
    due_at                   timestamptz,
    replays                  integer NOT NULL DEFAULT 0,
    outbox_token             uuid,
    dead_letter_published_at timestamptz,
    finished_at              timestamptz,
    CONSTRAINT event_pkey PRIMARY KEY (event_id),
    CONSTRAINT event_state_known CHECK (state IN ('claimed', 'parked', 'accepted', 'dead'))
) WITH (
    -- Every row is inserted once and updated once or twice within seconds, then never again.
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_limit = 2000
);

-- What is in flight or waits for its contact: small, because final rows leave it.
CREATE INDEX event_open_contact ON {schema}.event (phone_number, list_number) WHERE state IN ('claimed', 'parked');
-- Parked rows by due time.
CREATE INDEX event_due ON {schema}.event (due_at) WHERE state = 'parked';
-- The outbox: dead rows whose letter is not known to be on the topic.
CREATE INDEX event_unpublished ON {schema}.event (finished_at)
    WHERE state = 'dead' AND dead_letter_published_at IS NULL;

CREATE TABLE {schema}.warning (
    event_id text COLLATE "C" NOT NULL,
    source   text COLLATE "C" NOT NULL,
    code     text NOT NULL,
    message  text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT warning_source_known CHECK (source IN ('api', 'worker'))
);
CREATE INDEX warning_event ON {schema}.warning (event_id);
-- Reading a topic again must not say twice that the same record differs.
CREATE UNIQUE INDEX warning_duplicate_once ON {schema}.warning (event_id, message) WHERE code = 'duplicate_differs';

CREATE TABLE {schema}.attempt (
    event_id    text COLLATE "C" NOT NULL,
    attempt     integer NOT NULL,
    route       text NOT NULL,
    at          timestamptz NOT NULL,
    duration_ms bigint NOT NULL,
    http_status integer,
    code        text,
    verdict     text NOT NULL
);
CREATE INDEX attempt_event ON {schema}.attempt (event_id);

CREATE TABLE {schema}.phone_validation (
    phone_number text COLLATE "C" NOT NULL,
    validation   jsonb NOT NULL,
    disposition  text GENERATED ALWAYS AS (validation ->> 'disposition') STORED,
    line_type    text GENERATED ALWAYS AS (validation ->> 'line_type') STORED,
    on_dnc       boolean GENERATED ALWAYS AS (validation -> 'on_dnc' = 'true'::jsonb) STORED,
    validated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT phone_validation_pkey PRIMARY KEY (phone_number)
);

COMMENT ON TABLE {schema}.event IS 'One row per event: what became of it.';
COMMENT ON COLUMN {schema}.event.state IS 'claimed: in work; parked: waits until due_at; accepted, dead: final.';
COMMENT ON COLUMN {schema}.event.http_status IS 'Of the last try; null where there was no answer or no call.';
COMMENT ON COLUMN {schema}.event.error_class IS 'Who is at fault for the last error: rejected, billing, transport, ...';
COMMENT ON COLUMN {schema}.event.sources IS 'Other positions (topic:partition:offset) at which the event was published.';
COMMENT ON COLUMN {schema}.event.maybe_sent IS 'A call may have taken effect although its answer was not received.';
COMMENT ON COLUMN {schema}.event.headers IS 'Of the original record: [{"name": ..., "value": ... or "base64": ...}]; kept while parked or dead.';
COMMENT ON COLUMN {schema}.event.token IS 'The claim that wrote the row last; null where it was given back.';
COMMENT ON COLUMN {schema}.event.lease_until IS 'Until then the claim, or the publishing of the dead letter, is somebody''s.';
COMMENT ON TABLE {schema}.warning IS 'What the API or the worker had to remark about an event.';
COMMENT ON TABLE {schema}.attempt IS 'Every call of an event that needed more than one or failed.';
COMMENT ON TABLE {schema}.phone_validation IS 'The last known validation of each phone.';
