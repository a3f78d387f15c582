-- Views for people. They read the tables only; drop and recreate them in a later file to change them.

CREATE VIEW {schema}.dead_letter AS
SELECT e.event_id,
       e.code,
       e.error,
       e.error_class,
       e.http_status,
       e.attempts,
       e.phone_number,
       e.list_number,
       e.topic || ':' || e.partition || ':' || e."offset" AS source,
       e.received_at,
       e.finished_at AS failed_at,
       e.dead_letter_published_at AS published_at,
       e.replays,
       e.maybe_sent,
       -- Safe for any bytes: text stays text, the rest is written as \ooo.
       encode(e.payload, 'escape') AS payload_text,
       e.payload,
       e.headers
FROM {schema}.event e
WHERE e.state = 'dead';

CREATE VIEW {schema}.outcome_by_code AS
SELECT e.state,
       coalesce(e.code, '') AS code,
       e.http_status,
       count(*) AS events,
       min(e.received_at) AS first_at,
       max(coalesce(e.finished_at, e.received_at)) AS last_at
FROM {schema}.event e
GROUP BY e.state, coalesce(e.code, ''), e.http_status;

CREATE VIEW {schema}.journey_gap AS
SELECT e.list_number,
       count(DISTINCT w.event_id) AS events,
       count(DISTINCT e.phone_number) AS contacts,
       min(w.at) AS first_at,
       max(w.at) AS last_at,
       min(w.message) AS message
FROM {schema}.warning w
JOIN {schema}.event e ON e.event_id = w.event_id
WHERE w.source = 'api' AND w.message ILIKE '%journey%'
GROUP BY e.list_number;

CREATE VIEW {schema}.attribution AS
SELECT e.ad_network_source,
       e.ad_network_id,
       (coalesce(e.signup_date, e.received_at) AT TIME ZONE 'UTC')::date AS day,
       count(*) FILTER (WHERE e.state = 'accepted') AS accepted,
       count(*) FILTER (WHERE e.state = 'dead') AS dead,
       count(*) FILTER (WHERE e.state = 'accepted' AND e.is_new_contact) AS new_contacts
FROM {schema}.event e
WHERE e.state IN ('accepted', 'dead')
GROUP BY e.ad_network_source, e.ad_network_id, (coalesce(e.signup_date, e.received_at) AT TIME ZONE 'UTC')::date;

CREATE VIEW {schema}.validation_spend AS
SELECT (e.finished_at AT TIME ZONE 'UTC')::date AS day,
       e.list_number,
       coalesce(e.validation ->> 'disposition', '') AS disposition,
       count(*) AS validations,
       count(*) FILTER (WHERE e.validation -> 'cached' = 'false'::jsonb) AS paid_lookups,
       coalesce(sum(CASE WHEN jsonb_typeof(e.validation -> 'cost') = 'number'
                         THEN (e.validation ->> 'cost')::numeric END), 0) AS cost_usd
FROM {schema}.event e
WHERE e.validation IS NOT NULL
GROUP BY 1, 2, 3;
