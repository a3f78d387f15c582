-- Replays: who brought dead events back to life, when, why, and which.

CREATE TABLE {schema}.replay (
    replay_id                bigint GENERATED ALWAYS AS IDENTITY,
    started_at               timestamptz NOT NULL DEFAULT now(),
    finished_at              timestamptz,
    who                      text NOT NULL,
    reason                   text,
    selection                jsonb NOT NULL,
    selected                 bigint NOT NULL,
    replayed                 bigint NOT NULL DEFAULT 0,
    skipped_unsubscribed     bigint NOT NULL DEFAULT 0,
    skipped_superseded       bigint NOT NULL DEFAULT 0,
    skipped_without_original bigint NOT NULL DEFAULT 0,
    skipped_not_dead         bigint NOT NULL DEFAULT 0,
    failed                   bigint NOT NULL DEFAULT 0,
    CONSTRAINT replay_pkey PRIMARY KEY (replay_id)
);

-- Not indexed: workers never look at it, and a question about one replay may take its time.
ALTER TABLE {schema}.event ADD COLUMN replay_id bigint;

-- Whoever may park may replay.
DO $grant$
DECLARE
    who oid;
BEGIN
    FOR who IN
        SELECT DISTINCT a.grantee
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
        WHERE c.oid = $name${schema}.event$name$::regclass AND a.privilege_type = 'UPDATE' AND a.grantee <> c.relowner
    LOOP
        EXECUTE $sql$GRANT SELECT, INSERT, UPDATE ON {schema}.replay TO $sql$
            || CASE WHEN who = 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(who)) END;
    END LOOP;
END
$grant$;

COMMENT ON TABLE {schema}.replay IS 'One row per run of signup-worker replay that had something to hand over.';
COMMENT ON COLUMN {schema}.replay.finished_at IS 'Null: under way, or ended before its end (run it again).';
COMMENT ON COLUMN {schema}.replay.selection IS 'What was asked for on the command line.';
COMMENT ON COLUMN {schema}.replay.replayed IS 'Events handed over to the workers; what became of them: signup.event by replay_id.';
COMMENT ON COLUMN {schema}.replay.skipped_without_original IS 'Nothing to send: the original bytes are not kept.';
COMMENT ON COLUMN {schema}.replay.skipped_not_dead IS 'Somebody else had brought them back, or the letter''s event is there already.';
COMMENT ON COLUMN {schema}.replay.failed IS 'Left dead, because their contact could not be looked up or the database refuses their data.';
COMMENT ON COLUMN {schema}.event.replay_id IS 'The last replay that brought the event back to life.';
COMMENT ON COLUMN {schema}.event.replays IS 'How often the event, being dead, was brought back: replayed, or published again at another position.';
