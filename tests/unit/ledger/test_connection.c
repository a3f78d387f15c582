/* The connection machine: away and back, a server that stands still, a pooler's mode, closing with work under
 * way. */
#include "ledger_world.h"
#include "signup/base/log.h"

#include <fcntl.h>

/* Standard error goes to a file, so that the lines can be counted. */
static char log_path[64];
static int log_saved;

static void log_capture(void)
{
    snprintf(log_path, sizeof log_path, "/tmp/signup-log-XXXXXX");
    int fd = mkstemp(log_path);
    assert_true(fd >= 0);
    log_saved = dup(2);
    assert_true(dup2(fd, 2) == 2);
    close(fd);
}

static int log_count(const char *what)
{
    char line[4096];
    int count = 0;
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, what) != NULL;
    fclose(file);
    return count;
}

static void log_release(void)
{
    assert_true(dup2(log_saved, 2) == 2);
    close(log_saved);
    unlink(log_path);
}

#define A "+12025550101"
#define B "+12025550102"
#define AWAY_LINE "PostgreSQL is away: consuming nothing and calling nobody until it is back"
#define BACK_LINE "PostgreSQL is back"

static int backend_pid(void)
{
    return atoi(ASK("SELECT pid FROM pg_stat_activity WHERE application_name = 'signup-worker'"));
}

static void turn(int ms)
{
    for (double end = cluster_now() + ms / 1000.0; cluster_now() < end;) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void restart_is_survived(void **state)
{
    (void)state;
    const int signals[] = {SIGINT, SIGQUIT};
    struct peer peer;
    struct event e;
    world_clear();
    log_capture();
    peer_open(&peer);
    for (int i = 0; i < 2; i++) {
        char id[8];
        snprintf(id, sizeof id, "r%d", i);
        event_init(&e, id, i, i ? B : A, 1);
        assert_int_equal(claim(&peer, &e), CLAIM_GO);
        assert_true(i == 0 || log_count(BACK_LINE) == 1);
        cluster_halt(&world.cluster, signals[i]);
        peer_wait(&peer, LEDGER_CONDITION_AWAY, 5000);
        claim_fill(&e);
        struct claim_item *items[] = {&e.claim};
        struct claim_op op = {.items = items, .count = 1, .done = on_claimed};
        assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_AWAY);
        turn(1500); /* several vain tries */
        assert_int_equal(log_count(AWAY_LINE), i + 1);
        assert_int_equal(log_count(BACK_LINE), i);
        cluster_launch(&world.cluster);
        double back = cluster_now();
        peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
        assert_true(cluster_now() - back < 5);
        assert_int_equal(log_count(BACK_LINE), i + 1);
        assert_int_equal(record(&peer, &e, RECORD_ACCEPTED), RECORD_DONE);
    }
    struct ledger_status status;
    ledger_status(peer.ledger, &status);
    assert_int_equal(status.losses, 2);
    assert_int_equal(status.connects, 3);
    peer_close(&peer);
    log_release();
}

static void absent_at_start_is_waited_for(void **state)
{
    (void)state;
    struct peer peer;
    cluster_halt(&world.cluster, SIGINT);
    log_capture();
    peer_open_with(&peer, (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup"});
    turn(500);
    assert_int_equal(peer.condition, LEDGER_CONDITION_AWAY);
    assert_int_equal(log_count(AWAY_LINE), 1);
    assert_true(strlen(peer.why) > 0);
    cluster_launch(&world.cluster);
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    assert_int_equal(log_count(BACK_LINE), 1);
    peer_close(&peer);
    log_release();
}

/* kill -STOP of the backend: no timeout of the server or of TCP fires; our own does. */
static void stopped_backend_meets_the_deadline(void **state)
{
    (void)state;
    struct peer peer;
    struct event e;
    world_clear();
    peer_open_with(&peer,
                   (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup", .deadline_ms = 700});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    event_init(&e, "stop", 1, A, 1);
    claim_fill(&e);
    struct claim_item *items[] = {&e.claim};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    int pid = backend_pid();
    assert_int_equal(kill(pid, SIGSTOP), 0);
    double start = cluster_now();
    assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    double took = cluster_now() - start;
    assert_int_equal(answer.result, LEDGER_AWAY);
    assert_int_equal(answer.calls, 1);
    assert_true(took > 0.6 && took < 10);
    assert_non_null(strstr(peer.why, "no answer within 700 ms"));
    /* A new connection serves at once; the stopped one holds no lock yet. */
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    assert_int_equal(claim(&peer, &e), CLAIM_GO);
    assert_int_equal(kill(pid, SIGCONT), 0);
    peer_close(&peer);
}

/* The postmaster stands still: the connection is accepted by the kernel and never answered. */
static void stopped_postmaster_is_waited_for(void **state)
{
    (void)state;
    struct peer peer;
    assert_int_equal(kill(world.cluster.postmaster, SIGSTOP), 0);
    peer_open_with(&peer, (struct ledger_config){.dsn = world.cluster.dsn,
                                                 .schema = "signup",
                                                 .deadline_ms = 700,
                                                 .connect_deadline_ms = 300});
    turn(1000);
    assert_int_equal(peer.condition, LEDGER_CONDITION_AWAY);
    assert_non_null(strstr(peer.why, "no connection within 300 ms"));
    assert_int_equal(kill(world.cluster.postmaster, SIGCONT), 0);
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    peer_close(&peer);
}

static void unreachable_hosts_are_passed_over(void **state)
{
    (void)state;
    char dsn[512];
    struct peer peer;
    /* A name that cannot be found, a port that nobody listens on, then the right one. */
    snprintf(dsn, sizeof dsn,
             "host=no-such-host.invalid,127.0.0.1,%s port=5432,1,%d user=postgres dbname=postgres",
             world.cluster.folder, world.cluster.port);
    peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup"});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    struct ledger_status status;
    ledger_status(peer.ledger, &status);
    assert_non_null(strstr(status.server, world.cluster.folder));
    peer_close(&peer);
}

/* Over TCP, by a name that stands for more than one address. */
static void name_is_looked_up(void **state)
{
    (void)state;
    char dsn[256];
    struct peer peer;
    snprintf(dsn, sizeof dsn, "postgresql://postgres@localhost:%d/postgres", world.cluster.port);
    peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup"});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    assert_sql(
        "t", "SELECT client_addr IS NOT NULL FROM pg_stat_activity WHERE application_name = 'signup-worker'");
    peer_close(&peer);
}

static void read_only_server_is_away(void **state)
{
    (void)state;
    struct peer peer;
    struct event e;
    world_clear();
    log_capture();
    peer_open(&peer);
    ASK("ALTER SYSTEM SET default_transaction_read_only = on");
    ASK("SELECT pg_reload_conf()");
    double end = cluster_now() + 5;
    while (strcmp(ASK("SHOW default_transaction_read_only"), "on") != 0)
        assert_true(cluster_now() < end);
    event_init(&e, "ro", 1, A, 1);
    /* The session that was open before learns of it at its next statement: 25006. */
    for (bool away = false; !away && cluster_now() < end;) {
        claim_fill(&e);
        struct claim_item *items[] = {&e.claim};
        struct answer answer = {0};
        struct claim_op op = {
            .items = items, .count = 1, .lease_us = 1, .done = on_claimed, .owner = &answer};
        assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        away = answer.result == LEDGER_AWAY;
    }
    turn(800);
    assert_int_equal(peer.condition, LEDGER_CONDITION_AWAY);
    assert_int_equal(log_count(AWAY_LINE), 1);
    ASK("SET default_transaction_read_only = off");
    ASK("ALTER SYSTEM RESET default_transaction_read_only");
    ASK("SELECT pg_reload_conf()");
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    assert_int_equal(claim(&peer, &e), CLAIM_GO);
    assert_int_equal(log_count(BACK_LINE), 1);
    peer_close(&peer);
    log_release();
}

/* Connected, but every write fails: no flood of lines, and "back" is said only once a statement has
 * succeeded. */
static void failing_statements_are_one_outage(void **state)
{
    (void)state;
    struct peer peer;
    struct event e;
    world_clear();
    log_capture();
    peer_open(&peer);
    ASK("CREATE FUNCTION signup.disk_full() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END $$");
    ASK("CREATE TRIGGER disk_full BEFORE INSERT ON signup.event EXECUTE FUNCTION signup.disk_full()");
    event_init(&e, "full", 1, A, 1);
    for (int i = 0; i < 4; i++) {
        peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
        claim_fill(&e);
        struct claim_item *items[] = {&e.claim};
        struct answer answer = {0};
        struct claim_op op = {
            .items = items, .count = 1, .lease_us = 1, .done = on_claimed, .owner = &answer};
        assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(answer.result, LEDGER_AWAY);
        turn(5);
    }
    assert_int_equal(log_count(AWAY_LINE), 1);
    assert_int_equal(log_count("No space left"), 1);
    assert_int_equal(log_count(BACK_LINE), 0);
    ASK("DROP TRIGGER disk_full ON signup.event");
    ASK("DROP FUNCTION signup.disk_full()");
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    assert_int_equal(claim(&peer, &e), CLAIM_GO);
    assert_int_equal(log_count(BACK_LINE), 1);
    peer_close(&peer);
    log_release();
}

static void too_many_connections_are_waited_for(void **state)
{
    (void)state;
    struct peer peer;
    struct peer second;
    ASK("CREATE ROLE clerk LOGIN CONNECTION LIMIT 1");
    ASK("GRANT USAGE ON SCHEMA signup TO clerk");
    ASK("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA signup TO clerk");
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=clerk dbname=postgres", world.cluster.folder,
             world.cluster.port);
    peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup"});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    peer_open_with(&second, (struct ledger_config){.dsn = dsn, .schema = "signup"});
    turn(300);
    assert_int_equal(second.condition, LEDGER_CONDITION_AWAY);
    assert_non_null(strstr(second.why, "too many connections"));
    peer_close(&peer);
    peer_wait(&second, LEDGER_CONDITION_UP, 5000);
    peer_close(&second);
}

/* No prepared statements and no session settings: what a pooler in transaction mode allows. */
static void pooled_mode_leaves_no_trace_in_the_session(void **state)
{
    (void)state;
    struct peer peer;
    struct event e;
    world_clear();
    peer_open_with(&peer,
                   (struct ledger_config){
                       .dsn = world.cluster.dsn, .schema = "signup", .pooled = true, .deadline_ms = 3000});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    ASK("CREATE TABLE signup.seen AS SELECT ''::text AS prepared, ''::text AS timeout LIMIT 0");
    ASK("CREATE FUNCTION signup.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO signup.seen SELECT"
        " (SELECT count(*)::text FROM pg_prepared_statements WHERE name <> ''), current_setting('statement_timeout'); RETURN NULL; END $$");
    ASK("CREATE TRIGGER look AFTER INSERT ON signup.event EXECUTE FUNCTION signup.look()");
    event_init(&e, "pooled", 1, A, 1);
    assert_int_equal(claim(&peer, &e), CLAIM_GO);
    assert_int_equal(record(&peer, &e, RECORD_ACCEPTED), RECORD_DONE);
    assert_sql("t", "SELECT bool_and(prepared = '0' AND timeout = '2400ms') FROM signup.seen");
    ASK("DROP TRIGGER look ON signup.event");
    ASK("DROP FUNCTION signup.look()");
    ASK("DROP TABLE signup.seen");
    peer_close(&peer);
}

static void closing_completes_everything(void **state)
{
    (void)state;
    enum { OPS = 20 }; /* more than are sent at a time */
    static struct event events[OPS];
    static struct claim_item *items[OPS];
    static struct claim_op ops[OPS];
    struct answer answers[OPS] = {{0}};
    struct peer peer;
    peer_open(&peer);
    ASK("BEGIN");
    ASK("LOCK TABLE signup.event IN ACCESS EXCLUSIVE MODE");
    for (int i = 0; i < OPS; i++) {
        char id[16];
        snprintf(id, sizeof id, "close-%02d", i);
        event_init(&events[i], id, i, NULL, i + 1);
        claim_fill(&events[i]);
        items[i] = &events[i].claim;
        ops[i] = (struct claim_op){
            .items = &items[i], .count = 1, .lease_us = 1, .done = on_claimed, .owner = &answers[i]};
        assert_int_equal(ledger_port()->claim(peer.ledger, &ops[i]), PORT_OK);
    }
    turn(50);
    ledger_close(peer.ledger, on_peer_closed, &peer);
    assert_int_equal(ledger_port()->claim(peer.ledger, &ops[0]), PORT_AWAY);
    for (int i = 0; i < OPS; i++)
        assert_false(answers[i].done);
    world_wait(&peer.closed, ANSWER_MS);
    ASK("COMMIT");
    for (int i = 0; i < OPS; i++) {
        assert_int_equal(answers[i].calls, 1);
        assert_int_equal(answers[i].result, LEDGER_AWAY);
    }
}

static void closing_early_is_fine(void **state)
{
    (void)state;
    struct peer peer;
    for (int turns = 0; turns < 12; turns++) {
        peer_open_with(&peer, (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup"});
        for (int i = 0; i < turns; i++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        peer_close(&peer);
    }
    peer_open_with(&peer, (struct ledger_config){.dsn = "host=localhost port=1", .schema = "signup"});
    peer_close(&peer);
}

static void bad_configuration_is_said_without_secrets(void **state)
{
    (void)state;
    char error[LEDGER_ERROR_BYTES];
    struct ledger_config config = {.dsn = "postgresql://me:hunter2@[::1/x", .schema = "signup"};
    assert_null(ledger_create(&world.loop, &config, error));
    assert_null(strstr(error, "hunter2"));
    assert_non_null(strstr(error, "postgres.dsn"));
    config = (struct ledger_config){.dsn = "", .schema = ""};
    assert_null(ledger_create(&world.loop, &config, error));
    assert_non_null(strstr(error, "postgres.schema"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restart_is_survived),
        cmocka_unit_test(absent_at_start_is_waited_for),
        cmocka_unit_test(stopped_backend_meets_the_deadline),
        cmocka_unit_test(stopped_postmaster_is_waited_for),
        cmocka_unit_test(unreachable_hosts_are_passed_over),
        cmocka_unit_test(name_is_looked_up),
        cmocka_unit_test(read_only_server_is_away),
        cmocka_unit_test(failing_statements_are_one_outage),
        cmocka_unit_test(too_many_connections_are_waited_for),
        cmocka_unit_test(pooled_mode_leaves_no_trace_in_the_session),
        cmocka_unit_test(closing_completes_everything),
        cmocka_unit_test(closing_early_is_fine),
        cmocka_unit_test(bad_configuration_is_said_without_secrets),
    };
    return cmocka_run_group_tests_name("ledger/connection", tests, world_setup, world_teardown);
}
