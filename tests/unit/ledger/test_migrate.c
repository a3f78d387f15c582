/* Migrations and the check of the schema: twice, two at once, older, newer, changed, missing; quoted names.
 */
#include "ledger_world.h"
#include "schema.h"
#include "sql.h"

#include <pthread.h>

static int reported;
static char error[LEDGER_ERROR_BYTES];

static void on_report(void *ctx, const char *line)
{
    assert_non_null(strstr(line, ".sql"));
    (*(int *)ctx)++;
}

static struct ledger_config config_of(const char *schema)
{
    return (struct ledger_config){.dsn = world.cluster.dsn, .schema = schema};
}

static enum ledger_verdict migrate(const char *schema)
{
    struct ledger_config config = config_of(schema);
    reported = 0;
    return ledger_migrate(&config, on_report, &reported, error);
}

static enum ledger_verdict check(const char *schema)
{
    struct ledger_config config = config_of(schema);
    return ledger_check(&config, error);
}

static void twice_applies_once(void **state)
{
    (void)state;
    assert_int_equal(check("twice"), LEDGER_VERDICT_SCHEMA);
    assert_non_null(strstr(error, "signup-worker migrate"));
    assert_int_equal(migrate("twice"), LEDGER_VERDICT_WELL);
    assert_int_equal(reported, ledger_schema_version());
    assert_int_equal(migrate("twice"), LEDGER_VERDICT_WELL);
    assert_int_equal(reported, 0);
    assert_int_equal(check("twice"), LEDGER_VERDICT_WELL);
    assert_non_null(strstr(error, "PostgreSQL 15"));
    assert_sql("t", "SELECT count(*) >= 6 FROM pg_views WHERE schemaname = 'twice'");
}

static void *migrate_in_thread(void *result)
{
    char text[LEDGER_ERROR_BYTES];
    struct ledger_config config = config_of("crowd");
    *(enum ledger_verdict *)result = ledger_migrate(&config, NULL, NULL, text);
    return NULL;
}

static void many_at_once_apply_once(void **state)
{
    (void)state;
    pthread_t threads[6];
    enum ledger_verdict verdicts[6];
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, migrate_in_thread, &verdicts[i]), 0);
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(verdicts[i], LEDGER_VERDICT_WELL);
    }
    char versions[16];
    snprintf(versions, sizeof versions, "%d", ledger_schema_version());
    assert_sql(versions, "SELECT count(*) FROM crowd.schema_version");
}

static void quoted_name_is_quoted(void **state)
{
    (void)state;
    assert_int_equal(migrate("Odd \"name\""), LEDGER_VERDICT_WELL);
    assert_sql("0", "SELECT count(*) FROM \"Odd \"\"name\"\"\".event");
    struct peer peer;
    struct ledger_config config = config_of("Odd \"name\"");
    peer_open_with(&peer, config);
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    struct event e;
    event_init(&e, "e1", 1, NULL, 1);
    assert_int_equal(claim(&peer, &e), CLAIM_GO);
    peer_close(&peer);
}

/* As an older program has left it. */
static void apply_files(const char *schema, int count)
{
    ASK("CREATE SCHEMA %s", schema);
    ASK("CREATE TABLE %s.schema_version (version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT "
        "NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())",
        schema);
    for (int i = 0; i < count; i++) {
        char *sql = sql_render(schema_files[i].sql, schema);
        assert_non_null(sql);
        PQclear(cluster_exec(&world.cluster, sql));
        free(sql);
        ASK("INSERT INTO %s.schema_version VALUES (%d, '%s', '%s')", schema, schema_files[i].version,
            schema_files[i].name, schema_files[i].sha256);
    }
}

static void older_schema_is_refused_until_migrated(void **state)
{
    (void)state;
    struct peer peer;
    apply_files("older", 2);
    ASK("INSERT INTO older.event (event_id, topic, partition, \"offset\", state, due_at) SELECT 'e' || 9 - "
        "g, 'signups', 0, g,"
        " CASE WHEN g %% 2 = 0 THEN 'parked' ELSE 'accepted' END, now() FROM generate_series(1, 8) g");
    ASK("CREATE ROLE \"old worker\" LOGIN");
    ASK("GRANT USAGE ON SCHEMA older TO \"old worker\"");
    ASK("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA older TO \"old worker\"");
    assert_int_equal(check("older"), LEDGER_VERDICT_SCHEMA);
    peer_open_with(&peer, config_of("older"));
    peer_wait(&peer, LEDGER_CONDITION_REFUSED, ANSWER_MS);
    char versions[64];
    snprintf(versions, sizeof versions, "of version 2, this program needs %d", ledger_schema_version());
    assert_non_null(strstr(peer.why, versions));
    assert_non_null(strstr(peer.why, "signup-worker migrate"));
    assert_int_equal(migrate("older"), LEDGER_VERDICT_WELL);
    assert_int_equal(reported, ledger_schema_version() - 2);
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    /* What was parked before has its place, and who could write before can park now. */
    assert_sql(
        "e7,e5,e3,e1",
        "SELECT string_agg(event_id, ',' ORDER BY park_order) FROM older.event WHERE park_order IS NOT NULL");
    assert_sql("5", "SELECT nextval('older.park_order')");
    assert_sql("t", "SELECT has_sequence_privilege('old worker', 'older.park_order', 'USAGE')");
    assert_sql("t", "SELECT has_table_privilege('old worker', 'older.validation_day', 'UPDATE')"
                    " AND has_table_privilege('old worker', 'older.outcome', 'DELETE')"
                    " AND has_table_privilege('old worker', 'older.forgotten_id', 'INSERT')"
                    " AND has_table_privilege('old worker', 'older.forgotten_salt', 'SELECT')"
                    " AND has_table_privilege('old worker', 'older.erasure', 'INSERT')"
                    " AND NOT has_table_privilege('old worker', 'older.erasure', 'UPDATE')"
                    " AND NOT has_table_privilege('old worker', 'older.event', 'DELETE')"
                    " AND has_table_privilege('old worker', 'older.warning', 'DELETE')"
                    " AND has_table_privilege('old worker', 'older.consent_trail', 'SELECT')");
    peer_close(&peer);
}

/* A user that could only read reads what is new, and no more; one of the old worker's rights passes the check. */
static void privileges_are_carried_on(void **state)
{
    (void)state;
    char dsn[256];
    struct ledger_config config = {.dsn = dsn, .schema = "carried"};
    apply_files("carried", 4);
    ASK("CREATE ROLE \"carried reader\" LOGIN");
    ASK("CREATE ROLE carried_worker LOGIN");
    ASK("GRANT USAGE ON SCHEMA carried TO \"carried reader\", carried_worker");
    ASK("GRANT SELECT ON ALL TABLES IN SCHEMA carried TO \"carried reader\"");
    ASK("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA carried TO carried_worker");
    ASK("GRANT USAGE ON ALL SEQUENCES IN SCHEMA carried TO carried_worker");
    ASK("GRANT SELECT ON carried.event TO PUBLIC");
    assert_int_equal(migrate("carried"), LEDGER_VERDICT_WELL);
    assert_sql("t", "SELECT has_table_privilege('carried reader', 'carried.validation_budget', 'SELECT')"
                    " AND has_table_privilege('carried reader', 'carried.consent_trail', 'SELECT')"
                    " AND NOT has_table_privilege('carried reader', 'carried.outcome', 'SELECT')"
                    " AND NOT has_table_privilege('carried reader', 'carried.forgotten_salt', 'SELECT')"
                    " AND NOT has_table_privilege('carried reader', 'carried.warning', 'DELETE')");
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=carried_worker dbname=postgres", world.cluster.folder, world.cluster.port);
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_WELL);
    ASK("REVOKE DELETE ON carried.outcome FROM carried_worker");
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_REFUSED);
}

/* The index of all events by phone may have been made beforehand; one that an attempt has left invalid is made anew. */
static void index_by_phone_is_there(void **state)
{
    (void)state;
    apply_files("before", 4);
    ASK("CREATE INDEX event_phone ON before.event (phone_number, received_at)");
    assert_int_equal(migrate("before"), LEDGER_VERDICT_WELL);
    assert_sql("2", "SELECT indnatts FROM pg_index WHERE indexrelid = 'before.event_phone'::regclass");
    apply_files("broken_off", 4);
    ASK("CREATE INDEX event_phone ON broken_off.event (phone_number, received_at)");
    ASK("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken_off.event_phone'::regclass");
    assert_int_equal(migrate("broken_off"), LEDGER_VERDICT_WELL);
    assert_sql("1 t", "SELECT concat_ws(' ', indnatts, indisvalid) FROM pg_index WHERE indexrelid = 'broken_off.event_phone'::regclass");
}

/* Warnings of before are known by their words, later ones by their code alone. */
static void journey_gap_knows_old_and_new(void **state)
{
    (void)state;
    assert_int_equal(migrate("gap"), LEDGER_VERDICT_WELL);
    ASK("INSERT INTO gap.event (event_id, topic, partition, \"offset\", state, phone_number, list_number)"
        " SELECT 'e' || g, 't', 0, g, 'accepted', '+1' || g / 2, '+18885550000' FROM generate_series(1, 4) g");
    ASK("INSERT INTO gap.warning (event_id, source, code, message, at) VALUES"
        " ('e1', 'api', 'api_warning', 'list has active Welcome Journeys and use_journeys was not set', '2020-01-01'),"
        " ('e2', 'api', 'journeys_not_used', 'anything', now() + interval '1 s'),"
        " ('e3', 'api', 'api_warning', 'some other word on journeys', now() + interval '1 s'),"
        " ('e4', 'worker', 'journeys_not_used', 'not the API', now())");
    assert_sql("+18885550000 2 2", "SELECT concat_ws(' ', list_number, events, contacts) FROM gap.journey_gap");
    assert_sql("1", "SELECT count(*) FROM gap.journey_gap");
}

static void newer_schema_is_refused(void **state)
{
    (void)state;
    struct peer peer;
    assert_int_equal(migrate("newer"), LEDGER_VERDICT_WELL);
    ASK("INSERT INTO newer.schema_version (version, name, sha256) VALUES (99, '0099_future.sql', 'x')");
    assert_int_equal(migrate("newer"), LEDGER_VERDICT_SCHEMA);
    assert_non_null(strstr(error, "newer than this program"));
    assert_int_equal(check("newer"), LEDGER_VERDICT_SCHEMA);
    peer_open_with(&peer, config_of("newer"));
    peer_wait(&peer, LEDGER_CONDITION_REFUSED, ANSWER_MS);
    assert_non_null(strstr(peer.why, "newer than this program"));
    peer_close(&peer);
}

static void missing_schema_is_refused(void **state)
{
    (void)state;
    struct peer peer;
    peer_open_with(&peer, config_of("missing"));
    peer_wait(&peer, LEDGER_CONDITION_REFUSED, ANSWER_MS);
    assert_non_null(strstr(peer.why, "holds no ledger yet"));
    peer_close(&peer);
}

static void changed_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(migrate("changed"), LEDGER_VERDICT_WELL);
    ASK("UPDATE changed.schema_version SET sha256 = 'other' WHERE version = 1");
    assert_int_equal(migrate("changed"), LEDGER_VERDICT_SCHEMA);
    assert_non_null(strstr(error, "0001_tables.sql was changed"));
}

/* A file that fails leaves nothing behind, and says which it was. */
static void failed_file_leaves_nothing(void **state)
{
    (void)state;
    ASK("CREATE SCHEMA broken");
    ASK("CREATE TABLE broken.attempt (x int)");
    assert_int_equal(migrate("broken"), LEDGER_VERDICT_SCHEMA);
    assert_non_null(strstr(error, "0001_tables.sql cannot be applied"));
    assert_sql("1", "SELECT count(*) FROM pg_tables WHERE schemaname = 'broken'");
    ASK("DROP TABLE broken.attempt");
    assert_int_equal(migrate("broken"), LEDGER_VERDICT_WELL);
}

static void verdicts_tell_who_must_act(void **state)
{
    (void)state;
    char dsn[256];
    struct ledger_config config = {.dsn = dsn, .schema = "signup"};
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=nobody_here dbname=postgres", world.cluster.folder,
             world.cluster.port);
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_REFUSED);
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=postgres dbname=not_there", world.cluster.folder,
             world.cluster.port);
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_REFUSED);
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=1 user=postgres");
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_AWAY);
    assert_non_null(strstr(error, "127.0.0.1:1"));
    snprintf(dsn, sizeof dsn, "what is this");
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_CONFIG);
    ASK("CREATE ROLE reader LOGIN");
    ASK("GRANT USAGE ON SCHEMA signup TO reader");
    ASK("GRANT SELECT ON ALL TABLES IN SCHEMA signup TO reader");
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=reader dbname=postgres", world.cluster.folder,
             world.cluster.port);
    assert_int_equal(ledger_check(&config, error), LEDGER_VERDICT_REFUSED);
    assert_non_null(strstr(error, "may not read and write"));
    config.schema = "other";
    assert_int_equal(ledger_migrate(&config, NULL, NULL, error), LEDGER_VERDICT_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_applies_once),
        cmocka_unit_test(many_at_once_apply_once),
        cmocka_unit_test(quoted_name_is_quoted),
        cmocka_unit_test(older_schema_is_refused_until_migrated),
        cmocka_unit_test(privileges_are_carried_on),
        cmocka_unit_test(index_by_phone_is_there),
        cmocka_unit_test(journey_gap_knows_old_and_new),
        cmocka_unit_test(newer_schema_is_refused),
        cmocka_unit_test(missing_schema_is_refused),
        cmocka_unit_test(changed_file_is_refused),
        cmocka_unit_test(failed_file_leaves_nothing),
        cmocka_unit_test(verdicts_tell_who_must_act),
    };
    return cmocka_run_group_tests_name("ledger/migrate", tests, world_setup, world_teardown);
}
