-- Parking: the order of a contact's waiting events, and the age of an event that came back to life.

ALTER TABLE {schema}.event
    ADD COLUMN park_order bigint,
    ADD COLUMN age_from   timestamptz;

-- Not cached: a number that is drawn later is larger, whoever draws it.
CREATE SEQUENCE {schema}.park_order AS bigint CACHE 1;
ALTER SEQUENCE {schema}.park_order OWNED BY {schema}.event.park_order;

-- Whoever may park may draw numbers.
DO $grant$
DECLARE
    who oid;
BEGIN
    FOR who IN
        SELECT DISTINCT a.grantee
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
        WHERE c.oid = $name${schema}.event$name$::regclass AND a.privilege_type = 'UPDATE' AND a.grantee <> c.relowner
    LOOP
        EXECUTE $sql$GRANT USAGE ON SEQUENCE {schema}.park_order TO $sql$
            || CASE WHEN who = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(who)) END;
    END LOOP;
END
$grant$;

-- A contact's open events, the parked ones first and in their order, so that the first of thousands is found by one look. It takes the
-- place of the index without the order: an event that is never parked is in as many indexes as before.
CREATE INDEX event_open_contact_order ON {schema}.event (phone_number, list_number, park_order)
    WHERE state IN ('claimed', 'parked');
DROP INDEX {schema}.event_open_contact;
ALTER INDEX {schema}.event_open_contact_order RENAME TO event_open_contact;

-- Events that are parked already wait in the order in which they came.
UPDATE {schema}.event e
SET park_order = w.place
FROM (SELECT x.event_id, row_number() OVER (ORDER BY x.received_at, x.topic, x.partition, x."offset") AS place
      FROM {schema}.event x WHERE x.state = 'parked') w
WHERE e.event_id = w.event_id AND e.state = 'parked';
SELECT setval($name${schema}.park_order$name$, max(e.park_order))
FROM {schema}.event e WHERE e.state = 'parked' HAVING count(*) > 0;

-- What waits, and for what, in the order in which each contact's events will go.
CREATE VIEW {schema}.parked AS
SELECT e.event_id,
       e.phone_number,
       e.list_number,
       e.park_order,
       CASE WHEN e.lease_until > now() THEN 'in work'
            WHEN EXISTS (SELECT FROM {schema}.event o
                         WHERE o.phone_number = e.phone_number AND o.list_number = e.list_number
                           AND o.state IN ('claimed', 'parked') AND o.park_order < e.park_order
                           AND (o.state = 'parked' OR o.lease_until > now())) THEN 'behind'
            WHEN e.due_at <= now() THEN 'due'
            ELSE 'waiting' END AS waits,
       e.due_at,
       e.lease_until,
       now() - coalesce(e.age_from, e.received_at) AS age,
       e.attempts,
       e.code,
       e.error,
       e.error_class,
       e.http_status,
       e.maybe_sent,
       e.replays,
       e.topic || ':' || e.partition || ':' || e."offset" AS source
FROM {schema}.event e
WHERE e.state = 'parked';

COMMENT ON COLUMN {schema}.event.park_order IS
    'The place among the contact''s waiting events: drawn when the event is parked, or claimed behind a parked one, and kept until it is final.';
COMMENT ON COLUMN {schema}.event.age_from IS 'When a dead event was last brought back to life; null: its age counts from received_at.';
COMMENT ON COLUMN {schema}.event.state IS
    'claimed: in work; parked: waits until due_at, and stays parked also while it is in work again (lease_until); accepted, dead: final.';
COMMENT ON COLUMN {schema}.event.lease_until IS
    'Until then the claim, the parked event that was taken up, or the publishing of the dead letter is somebody''s.';
COMMENT ON INDEX {schema}.event_open_contact IS 'What is in flight or waits, by contact; small, because final rows leave it.';
COMMENT ON INDEX {schema}.event_due IS 'What is parked, by due time.';
COMMENT ON SEQUENCE {schema}.park_order IS 'Numbers of event.park_order.';
COMMENT ON VIEW {schema}.parked IS 'What waits in the ledger, and for what: behind an earlier event of its contact, its due time, or a free worker.';
