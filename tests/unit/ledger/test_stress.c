/* The ledger under stress: work goes on while the server is stopped, restarted, killed, frozen, full, failed
 * over, or behind a pooler; in the end every event is final exactly once, in the order of its contact, and
 * its tries are numbered without gap or repetition. */
#include "ledger_world.h"

#include <sched.h>
#include <sys/mount.h>

#define BOUNCER "/usr/sbin/pgbouncer"

/* ------------------------------------------------------------------ work under faults */

enum { CONTACTS = 6, EACH = 10, OFTEN = 5, SELDOM = 18 };

/* What this test knows of each event: the ledger must agree in the end. */
struct known {
    struct event event;
    int tries; /* records with a try that are known to be done */
    bool final;
};

struct load {
    struct known known[CONTACTS][EACH];
    int claimed[CONTACTS]; /* events of the contact that are in the ledger */
    int ended[CONTACTS];   /* of these: final */
    int left;
    int tokens;
    int submitted;
    uint64_t random;
    struct peer peers[2];
    /* Called with every so manieth operation under way. */
    void (*fault)(int number);
    int every;
    int faults;
    /* A statement may be executed long after its client has left and sent it again. A take that comes so late
     * takes events that nobody asks for any more, until its lease ends. */
    bool late;
    double end;
};

static struct load load;
static struct arena arena;

static unsigned dice(unsigned sides)
{
    load.random = load.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(load.random >> 33) % sides;
}

/* Runs one submission until it is answered with LEDGER_OK, whatever happens meanwhile, and always under the
 * same token. */
#define PERSIST(peer, answer, submission)                                                                    \
    do {                                                                                                     \
        for (int tries_ = 0;; tries_++) {                                                                    \
            assert_true(tries_ < 50);                                                                        \
            peer_wait(peer, LEDGER_CONDITION_UP, ANSWER_MS);                                                 \
            (answer) = (struct answer){0};                                                                   \
            if ((submission) != PORT_OK) {                                                                   \
                turn(1);                                                                                     \
                continue;                                                                                    \
            }                                                                                                \
            assert_false((answer).done);                                                                     \
            if (++load.submitted % load.every == 0 && load.fault)                                            \
                load.fault(load.faults++);                                                                   \
            world_wait(&(answer).done, ANSWER_MS);                                                           \
            assert_int_equal((answer).calls, 1);                                                             \
            if ((answer).result == LEDGER_OK)                                                                \
                break;                                                                                       \
        }                                                                                                    \
    } while (0)

static void turn(int ms)
{
    for (double end = cluster_now() + ms / 1000.0; cluster_now() < end;) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static struct attempt one_try = {
    .number = 1, .route = "upsert", .at = {1742049000000000}, .verdict = "retry"};

static void load_record(struct peer *peer, int contact, bool taken_up, bool behind)
{
    struct known *known = &load.known[contact][load.ended[contact]];
    if (behind)
        known = &load.known[contact][load.claimed[contact]];
    struct event *event = &known->event;
    bool park = behind || dice(3) == 0;
    record_fill(event, park ? RECORD_PARKED : dice(2) ? RECORD_ACCEPTED : RECORD_DEAD);
    event->recording.taken_up = taken_up;
    event->recording.due_in_us = 0;
    event->recording.attempts_made = behind ? NULL : &one_try;
    struct record_item *items[] = {&event->recording};
    struct answer answer;
    struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
    PERSIST(peer, answer, ledger_port()->record(peer->ledger, &op));
    if (load.late && taken_up && event->recording.answer == RECORD_REFUSED)
        return;
    assert_int_equal(event->recording.answer, RECORD_DONE);
    known->tries += !behind;
    known->final = !park;
    if (known->final) {
        load.ended[contact]++;
        load.left--;
    }
}

static void load_claim(struct peer *peer, int contact)
{
    int index = load.claimed[contact];
    if (index == EACH)
        return;
    struct event *event = &load.known[contact][index].event;
    event->token = token_of(++load.tokens);
    struct claim_item *items[] = {&event->claim};
    struct answer answer;
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = 600 * US_PER_S, .done = on_claimed, .owner = &answer};
    PERSIST(peer, answer, (claim_fill(event), ledger_port()->claim(peer->ledger, &op)));
    bool behind = load.ended[contact] < index;
    assert_int_equal(event->claim.answer, behind ? CLAIM_BEHIND : CLAIM_GO);
    load_record(peer, contact, false, behind);
    load.claimed[contact]++;
}

static void load_take(struct peer *peer)
{
    struct due_take_op op;
    struct answer answer;
    int token = ++load.tokens;
    PERSIST(peer, answer,
            (arena_fini(&arena), due_fill(&op, &arena, 1 + dice(4), token, &answer),
             op.lease_us = (load.late ? 2 : 600) * US_PER_S, ledger_port()->due_take(peer->ledger, &op)));
    for (size_t i = 0; i < op.count; i++) {
        int contact = atoi(op.events[i].event_id.ptr);
        struct event *event = &load.known[contact][load.ended[contact]].event;
        assert_true(slice_equal(op.events[i].event_id, event->signup.event_id));
        assert_true(load.late || !op.events[i].maybe_sent);
        event->token = op.token;
        load_record(peer, contact, true, false);
    }
}

static void freeze_backend(int number);

static void load_begin(const char *dsn, bool pooled, void (*fault)(int number), int every)
{
    memset(&load, 0, sizeof load);
    world_clear();
    arena_init(&arena, 8 << 20);
    load.random = 20261121;
    load.fault = fault;
    load.every = every;
    load.late = fault == freeze_backend;
    load.end = cluster_now() + 120;
    load.left = CONTACTS * EACH;
    for (int c = 0; c < CONTACTS; c++) {
        for (int i = 0; i < EACH; i++) {
            char id[32];
            char phone[32];
            snprintf(id, sizeof id, "%02d-%02d", c, EACH - i);
            snprintf(phone, sizeof phone, "+12025550%03d", c);
            event_init(&load.known[c][i].event, id, c * EACH + i, phone, 1);
        }
    }
    for (int p = 0; p < 2; p++)
        peer_open_with(&load.peers[p], (struct ledger_config){.dsn = dsn,
                                                              .schema = "signup",
                                                              .deadline_ms = 1500,
                                                              .connect_deadline_ms = 1000,
                                                              .pooled = pooled});
}

static void load_check(void)
{
    char expected[32];
    snprintf(expected, sizeof expected, "%d", CONTACTS * EACH);
    assert_sql(expected, "SELECT count(*) FROM signup.event WHERE state IN ('accepted', 'dead') AND NOT "
                         "maybe_sent AND park_order IS NULL");
    assert_sql(expected, "SELECT count(*) FROM signup.event");
    for (int c = 0; c < CONTACTS; c++) {
        for (int i = 0; i < EACH; i++) {
            const struct known *known = &load.known[c][i];
            snprintf(expected, sizeof expected, "%d %d %d", known->tries, known->tries, known->tries);
            assert_sql(expected,
                       "SELECT concat_ws(' ', count(*), count(DISTINCT attempt), coalesce(max(attempt), 0)) "
                       "FROM signup.attempt"
                       " WHERE event_id = '%s'",
                       known->event.id);
        }
        assert_sql("t",
                   "SELECT array_agg(event_id ORDER BY finished_at) = array_agg(event_id ORDER BY "
                   "\"offset\") FROM signup.event"
                   " WHERE event_id LIKE '%02d-%%'",
                   c);
    }
}

static void thaw(void);

/* A backend that stood still executes what its client has given up: not within the next test. */
static void load_await_silence(void)
{
    thaw();
    for (double end = cluster_now() + 15;
         strcmp(ASK("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signup-worker'"), "0") != 0;)
        assert_true(cluster_now() < end);
}

static void load_run(const char *dsn, bool pooled, void (*fault)(int number), int every)
{
    load_begin(dsn, pooled, fault, every);
    for (int step = 0; load.left > 0; step++) {
        assert_true(cluster_now() < load.end);
        struct peer *peer = &load.peers[dice(2)];
        if (dice(2))
            load_claim(peer, (int)dice(CONTACTS));
        else
            load_take(peer);
        /* The clock is the server's: what was pushed because it had another one before it comes due. */
        if (step % 20 == 19)
            ASK("UPDATE signup.event SET due_at = now() WHERE state = 'parked' AND due_at > now()");
    }
    load.fault = NULL;
    load_check();
    for (int p = 0; p < 2; p++)
        peer_close(&load.peers[p]);
    arena_fini(&arena);
    if (!pooled) /* a pooler keeps its own connections */
        load_await_silence();
}

/* ------------------------------------------------------------------ faults of the server */

/* Every statement is sent by now; its answer is not read yet. */
static int worker_backend(int nth)
{
    return atoi(ASK("SELECT pid FROM pg_stat_activity WHERE application_name = 'signup-worker' ORDER BY pid "
                    "OFFSET %d LIMIT 1",
                    nth));
}

static void terminate_backends(int number)
{
    (void)number;
    ASK("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
        "'signup-worker'");
}

static void cancel_backends(int number)
{
    (void)number;
    ASK("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = "
        "'signup-worker'");
}

/* kill -9: the server takes all its sessions down and recovers. */
static void kill_backend(int number)
{
    int pid = worker_backend(number % 2);
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    double end = cluster_now() + 15;
    while (PQstatus(world.cluster.admin) == CONNECTION_OK) { /* ours is taken down, too */
        CLUSTER_CHECK(cluster_now() < end);
        PQclear(PQexec(world.cluster.admin, "SELECT 1"));
    }
    PQfinish(world.cluster.admin);
    world.cluster.admin = NULL;
    while (PQping(world.cluster.dsn) != PQPING_OK)
        CLUSTER_CHECK(cluster_now() < end);
}

static void restart_fast(int number)
{
    (void)number;
    cluster_halt(&world.cluster, SIGINT);
    cluster_launch(&world.cluster);
}

static void restart_immediate(int number)
{
    (void)number;
    cluster_halt(&world.cluster, SIGQUIT);
    cluster_launch(&world.cluster);
}

static int frozen;

static void thaw(void)
{
    if (frozen > 0)
        kill(frozen, SIGCONT);
    frozen = 0;
}

/* The backend stands still, then and when holding what it has locked, and goes on after its client has left.
 */
static void freeze_backend(int number)
{
    thaw();
    frozen = worker_backend(number % 2);
    if (frozen > 0)
        kill(frozen, SIGSTOP);
}

static void freeze_postmaster(int number)
{
    kill(world.cluster.postmaster, number % 2 ? SIGCONT : SIGSTOP);
    if (number % 2 == 0) /* nobody can connect, those who are connected work */
        return;
    for (double end = cluster_now() + 5; PQping(world.cluster.dsn) != PQPING_OK;)
        CLUSTER_CHECK(cluster_now() < end);
}

static void backends_terminated(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, terminate_backends, OFTEN);
    assert_true(load.faults > 20);
}

static void statements_cancelled(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, cancel_backends, OFTEN);
    assert_true(load.faults > 20);
}

static void backends_killed(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, kill_backend, SELDOM);
    assert_true(load.faults > 7);
}

static void server_restarted_fast(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, restart_fast, SELDOM);
    assert_true(load.faults > 7);
}

static void server_restarted_immediate(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, restart_immediate, SELDOM);
    assert_true(load.faults > 7);
}

static void backends_frozen(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, freeze_backend, SELDOM);
    thaw();
    assert_true(load.faults > 7);
}

static void postmaster_frozen(void **state)
{
    (void)state;
    load_run(world.cluster.dsn, false, freeze_postmaster, SELDOM);
    kill(world.cluster.postmaster, SIGCONT);
    assert_true(load.faults > 7);
}

/* ------------------------------------------------------------------ collisions */

/* Each statement that writes a row meets a deadlock, a lock timeout and a failed serialization, and is
 * repeated. */
static void collisions_are_repeated(void **state)
{
    (void)state;
    ASK("CREATE SEQUENCE public.collisions");
    ASK("CREATE FUNCTION public.collide() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE n bigint := "
        "nextval('public.collisions'); BEGIN"
        " IF n %% 4 = 0 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;"
        " IF n %% 7 = 0 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;"
        " IF n %% 9 = 0 THEN RAISE EXCEPTION 'canceling statement due to lock timeout' USING ERRCODE = "
        "'55P03'; END IF;"
        " RETURN NULL; END $$");
    ASK("CREATE TRIGGER collide BEFORE INSERT OR UPDATE ON signup.event EXECUTE FUNCTION public.collide()");
    load_begin(world.cluster.dsn, false, NULL, OFTEN);
    for (int step = 0; load.left > 0; step++) {
        assert_true(cluster_now() < load.end);
        struct peer *peer = &load.peers[dice(2)];
        if (dice(2))
            load_claim(peer, (int)dice(CONTACTS));
        else
            load_take(peer);
        if (step % 20 == 19) {
            ASK("ALTER TABLE signup.event DISABLE TRIGGER collide");
            ASK("UPDATE signup.event SET due_at = now() WHERE state = 'parked' AND due_at > now()");
            ASK("ALTER TABLE signup.event ENABLE TRIGGER collide");
        }
    }
    ASK("DROP TRIGGER collide ON signup.event");
    load_check();
    uint64_t retries = 0;
    for (int p = 0; p < 2; p++) {
        struct ledger_status status;
        ledger_status(load.peers[p].ledger, &status);
        retries += status.retries;
        peer_close(&load.peers[p]);
    }
    assert_true(retries > 30);
    arena_fini(&arena);
}

/* A table that somebody has locked for longer than the lock timeout: take-ups are repeated, not failed. */
static void locked_table_is_waited_for(void **state)
{
    (void)state;
    struct peer hasty;
    struct due_take_op op;
    struct answer answer;
    world_clear();
    arena_init(&arena, 1 << 20);
    peer_open_with(&hasty,
                   (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup", .deadline_ms = 500});
    peer_wait(&hasty, LEDGER_CONDITION_UP, ANSWER_MS);
    ASK("BEGIN");
    ASK("LOCK TABLE signup.event IN ACCESS EXCLUSIVE MODE");
    due_fill(&op, &arena, 10, 1, &answer);
    assert_int_equal(ledger_port()->due_take(hasty.ledger, &op), PORT_OK);
    struct ledger_status status = {0};
    for (double end = cluster_now() + 10; status.retries < 2 && cluster_now() < end;) {
        uv_run(&world.loop, UV_RUN_ONCE);
        ledger_status(hasty.ledger, &status);
    }
    ASK("COMMIT");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_true(op.next_due_in_us == -1);
    assert_int_equal(status.losses, 0);
    peer_close(&hasty);
    arena_fini(&arena);
}

/* A server whose default is not the isolation that the statements are written for. */
static void server_of_another_isolation(void **state)
{
    (void)state;
    ASK("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'");
    load_run(world.cluster.dsn, false, terminate_backends, OFTEN);
    load_run(world.cluster.dsn, true, terminate_backends, OFTEN);
    ASK("ALTER ROLE postgres RESET default_transaction_isolation");
}

/* ------------------------------------------------------------------ disk full */

/* A file system in memory, of the server's user; again: another size for the same. */
static void space(const char *folder, int megabytes, bool again)
{
    char options[96];
    const struct passwd *user = getpwnam("postgres");
    assert_non_null(user);
    snprintf(options, sizeof options, "size=%dm,mode=0700,uid=%u,gid=%u", megabytes, (unsigned)user->pw_uid,
             (unsigned)user->pw_gid);
    assert_int_equal(mount("none", folder, "tmpfs", again ? MS_REMOUNT : 0, options), 0);
}

/* A real one: the table is on a file system that has no room left. */
static void disk_full(void **state)
{
    (void)state;
    char folder[96];
    struct peer peer;
    static struct event events[200];
    static char payload[200000];
    struct event first;
    struct due_take_op due;
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        print_message(
            "not allowed to mount: the disk stays empty (test_connection raises 53100 by a trigger)\n");
        skip();
    }
    cluster_halt(&world.cluster, SIGINT); /* it must live in the new namespace of mounts */
    snprintf(folder, sizeof folder, "%s/small", world.cluster.folder);
    assert_int_equal(mkdir(folder, 0777), 0);
    space(folder, 8, false);
    cluster_launch(&world.cluster);
    ASK("CREATE TABLESPACE small LOCATION '%s'", folder);
    world_clear();
    ASK("ALTER TABLE signup.event SET TABLESPACE small");
    arena_init(&arena, 8 << 20);
    peer_open(&peer);
    for (size_t i = 0; i < sizeof payload; i++) /* TOAST must not make it small */
        payload[i] = (char)(i * i * 31 >> 3);
    event_init(&first, "first", 1000, "+12025550001", 5000);
    assert_int_equal(claim(&peer, &first), CLAIM_GO);
    int full = -1;
    for (int i = 0; i < 200 && full < 0; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%03d", i);
        event_init(&events[i], id, i, NULL, i + 1);
        events[i].record.value = (struct slice){payload, sizeof payload};
        assert_int_equal(claim(&peer, &events[i]), CLAIM_GO);
        record_fill(&events[i], RECORD_PARKED);
        events[i].recording.due_in_us = 0;
        struct record_item *items[] = {&events[i].recording};
        struct answer answer = {0};
        struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
        assert_int_equal(ledger_port()->record(peer.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        if (answer.result == LEDGER_AWAY) /* an outage, no poison: the data is not at fault */
            full = i;
        else
            assert_int_equal(events[i].recording.answer, RECORD_DONE);
    }
    assert_in_range(full, 10, 60);
    peer_wait(&peer, LEDGER_CONDITION_AWAY, 2000);
    assert_non_null(strstr(peer.why, "No space left on device"));
    /* With room again it goes on where it was. */
    space(folder, 64, true);
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    assert_int_equal(record_filled(&peer, &events[full]), RECORD_DONE);
    assert_int_equal(record(&peer, &first, RECORD_ACCEPTED), RECORD_DONE);
    assert_int_equal(due_take(&peer, &due, &arena, 4, 9999), 4);
    peer_close(&peer);
    arena_fini(&arena);
    ASK("ALTER TABLE signup.event SET TABLESPACE pg_default");
    ASK("DROP TABLESPACE small");
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
}

/* ------------------------------------------------------------------ failover */

static void await_replay(struct cluster *standby)
{
    char position[64];
    snprintf(position, sizeof position, "%s", ASK("SELECT pg_current_wal_lsn()"));
    for (double end = cluster_now() + 10;
         strcmp(cluster_ask(standby, "SELECT pg_last_wal_replay_lsn() >= '%s'", position), "t") != 0;)
        assert_true(cluster_now() < end);
}

/* The primary is lost with what its standby has not seen; the standby becomes the primary. */
static void failover_to_the_standby(void **state)
{
    (void)state;
    static struct cluster standby;
    char dsn[512];
    struct peer peer;
    struct event e[5];
    struct due_take_op op;
    world_clear();
    arena_init(&arena, 1 << 20);
    cluster_follow(&standby, &world.cluster);
    snprintf(dsn, sizeof dsn,
             "host=%s,%s port=%d,%d user=postgres dbname=postgres target_session_attrs=read-write",
             standby.folder, world.cluster.folder, standby.port, world.cluster.port);
    peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup", .deadline_ms = 3000});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS); /* the standby comes first, and is passed over */
    const char *ids[] = {"claimed", "parked", "lost", "accepted", "after"};
    for (int i = 0; i < 5; i++) {
        char phone[16];
        snprintf(phone, sizeof phone, "+1202555000%d", i);
        event_init(&e[i], ids[i], i, phone, i + 1);
    }
    assert_int_equal(claim(&peer, &e[0]), CLAIM_GO);
    assert_int_equal(claim(&peer, &e[1]), CLAIM_GO);
    record_fill(&e[1], RECORD_PARKED);
    e[1].recording.due_in_us = 0;
    assert_int_equal(record_filled(&peer, &e[1]), RECORD_DONE);
    await_replay(&standby);
    PQclear(cluster_exec(&standby, "ALTER SYSTEM SET primary_conninfo = ''"));
    PQclear(cluster_exec(&standby, "SELECT pg_reload_conf()"));
    for (double end = cluster_now() + 10;
         strcmp(cluster_ask(&standby, "SELECT count(*) FROM pg_stat_wal_receiver"), "0") != 0;)
        assert_true(cluster_now() < end);
    assert_int_equal(claim(&peer, &e[2]), CLAIM_GO); /* which the standby never hears of */
    assert_int_equal(claim(&peer, &e[3]), CLAIM_GO);
    assert_int_equal(record(&peer, &e[3], RECORD_ACCEPTED), RECORD_DONE);
    cluster_halt(&world.cluster, SIGQUIT);
    peer_wait(&peer, LEDGER_CONDITION_AWAY, 5000);
    turn(500);
    assert_int_equal(peer.condition, LEDGER_CONDITION_AWAY); /* a standby is no place to write */
    PQclear(cluster_exec(&standby, "SELECT pg_promote()"));
    peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
    struct ledger_status status;
    ledger_status(peer.ledger, &status);
    assert_int_equal(status.forgotten, 1); /* somebody is told that a confirmed record is gone */
    assert_int_equal(record(&peer, &e[0], RECORD_ACCEPTED), RECORD_DONE);
    assert_int_equal(record(&peer, &e[2], RECORD_DEAD), RECORD_DONE); /* its claim is gone: written whole */
    assert_int_equal(claim(&peer, &e[3]), CLAIM_GO);                  /* a lost row is a new event */
    assert_int_equal(due_take(&peer, &op, &arena, 10, 50), 1);
    assert_true(slice_is(op.events[0].event_id, "parked"));
    e[4].signup.phone_number = e[1].signup.phone_number;
    assert_int_equal(claim(&peer, &e[4]), CLAIM_BEHIND);
    assert_int_equal(record(&peer, &e[4], RECORD_PARKED), RECORD_DONE);
    assert_string_equal(
        cluster_ask(
            &standby,
            "SELECT string_agg(event_id, ',' ORDER BY park_order) FROM signup.event WHERE state = 'parked'"),
        "parked,after");
    peer_close(&peer);
    PQfinish(standby.admin);
    standby.admin = NULL;
    cluster_destroy(&standby);
    cluster_launch(&world.cluster);
    arena_fini(&arena);
}

/* The first host is writable no more, the second one is: the session that finds out goes there. */
static void read_only_server_is_left(void **state)
{
    (void)state;
    static struct cluster other;
    char dsn[512];
    char error[LEDGER_ERROR_BYTES];
    struct peer peer;
    struct event e;
    world_clear();
    cluster_start(&other);
    struct ledger_config config = {.dsn = other.dsn, .schema = "signup"};
    assert_int_equal(ledger_migrate(&config, NULL, NULL, error), LEDGER_VERDICT_WELL);
    snprintf(dsn, sizeof dsn,
             "host=%s,%s port=%d,%d user=postgres dbname=postgres target_session_attrs=read-write",
             world.cluster.folder, other.folder, world.cluster.port, other.port);
    peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup", .deadline_ms = 3000});
    peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
    ASK("ALTER SYSTEM SET default_transaction_read_only = on");
    ASK("SELECT pg_reload_conf()");
    event_init(&e, "moves", 1, NULL, 1);
    for (double end = cluster_now() + 10;
         strcmp(cluster_ask(&other, "SELECT count(*) FROM signup.event"), "1") != 0;) {
        struct claim_item *items[] = {&e.claim};
        struct answer answer = {0};
        struct claim_op op = {
            .items = items, .count = 1, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
        claim_fill(&e);
        assert_true(cluster_now() < end);
        peer_wait(&peer, LEDGER_CONDITION_UP, 5000);
        assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        turn(10);
    }
    ASK("SET default_transaction_read_only = off");
    ASK("ALTER SYSTEM RESET default_transaction_read_only");
    ASK("SELECT pg_reload_conf()");
    peer_close(&peer);
    PQfinish(other.admin);
    other.admin = NULL;
    cluster_destroy(&other);
}

/* ------------------------------------------------------------------ a server that does not let in */

static const char *refusal_state; /* SQLSTATE */
static int refusals;

struct guest {
    uv_tcp_t tcp;
    uv_write_t write;
    char words[256];
};

static void on_guest_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_door_closed(uv_handle_t *handle)
{
    *(bool *)handle->data = true;
}

static void on_guest_told(uv_write_t *write, int status)
{
    (void)status;
    uv_close((uv_handle_t *)write->handle, on_guest_closed);
}

static void on_guest_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char room[4096];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(room, sizeof room);
}

/* ErrorResponse (PostgreSQL documentation, "55.7. Message Formats") to whatever was said. */
static void on_guest_says(uv_stream_t *stream, ssize_t read, const uv_buf_t *buf)
{
    (void)buf;
    struct guest *guest = (struct guest *)stream;
    uv_read_stop(stream);
    if (read <= 0) {
        uv_close((uv_handle_t *)stream, on_guest_closed);
        return;
    }
    int len = snprintf(guest->words + 5, sizeof guest->words - 5, "SFATAL%cC%s%cMsorry, not now%c", 0,
                       refusal_state, 0, 0) +
              1;
    uint32_t wire = htonl((uint32_t)len + 4);
    guest->words[0] = 'E';
    memcpy(guest->words + 1, &wire, sizeof wire);
    refusals++;
    uv_buf_t words = uv_buf_init(guest->words, (unsigned)len + 5);
    assert_int_equal(uv_write(&guest->write, stream, &words, 1, on_guest_told), 0);
}

static void on_guest(uv_stream_t *server, int status)
{
    assert_int_equal(status, 0);
    struct guest *guest = calloc(1, sizeof *guest);
    assert_non_null(guest);
    uv_tcp_init(server->loop, &guest->tcp);
    assert_int_equal(uv_accept(server, (uv_stream_t *)&guest->tcp), 0);
    uv_read_start((uv_stream_t *)&guest->tcp, on_guest_room, on_guest_says);
}

/* Starting up, shutting down, crashed, full of connections: it is tried again with pauses, and reached once
 * it lets in. */
static void refusing_server_is_tried_again(void **state)
{
    (void)state;
    const char *states[] = {"57P03", "57P01", "57P02", "53300", "53400", "08006"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        uv_tcp_t door;
        struct sockaddr_in address;
        struct peer peer;
        char dsn[256];
        int port = cluster_free_port();
        refusal_state = states[i];
        refusals = 0;
        uv_tcp_init(&world.loop, &door);
        uv_ip4_addr("127.0.0.1", port, &address);
        assert_int_equal(uv_tcp_bind(&door, (struct sockaddr *)&address, 0), 0);
        assert_int_equal(uv_listen((uv_stream_t *)&door, 16, on_guest), 0);
        snprintf(dsn, sizeof dsn,
                 "host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable gssencmode=disable",
                 port);
        double start = cluster_now();
        peer_open_with(&peer, (struct ledger_config){.dsn = dsn, .schema = "signup"});
        while (refusals < 4) {
            uv_run(&world.loop, UV_RUN_ONCE);
            assert_true(cluster_now() - start < 10);
        }
        assert_true(cluster_now() - start > 0.15); /* 25, 50, 100 ms at least between the tries */
        assert_int_equal(peer.condition, LEDGER_CONDITION_AWAY);
        assert_non_null(strstr(peer.why, "sorry, not now"));
        struct claim_op op = {.count = 0};
        assert_int_equal(ledger_port()->claim(peer.ledger, &op), PORT_AWAY);
        peer_close(&peer);
        bool closed = false;
        door.data = &closed;
        uv_close((uv_handle_t *)&door, on_door_closed);
        world_wait(&closed, ANSWER_MS);
    }
}

/* ------------------------------------------------------------------ a pooler between */

static pid_t bouncer;
static int bouncer_port;

static bool bouncer_answers(void)
{
    char dsn[128];
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%d user=postgres dbname=postgres", bouncer_port);
    return PQping(dsn) == PQPING_OK;
}

/* PgBouncer in transaction mode with two connections for all. */
static void bouncer_start(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/bouncer.ini", world.cluster.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(
        file,
        "[databases]\npostgres = host=%s port=%d dbname=postgres user=postgres\n"
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nserver_login_retry = 1\nlogfile = %s/bouncer.log\n",
        world.cluster.folder, world.cluster.port, bouncer_port, world.cluster.folder);
    fclose(file);
    assert_int_equal(chmod(path, 0644), 0);
    const char *argv[] = {BOUNCER, "-q", path, NULL};
    bouncer = cluster_spawn(&world.cluster, "bouncer.out", argv);
    for (double end = cluster_now() + 10; !bouncer_answers();) {
        assert_true(cluster_now() < end && waitpid(bouncer, NULL, WNOHANG) == 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static void bouncer_stop(void)
{
    assert_int_equal(kill(bouncer, SIGKILL), 0);
    assert_int_equal(waitpid(bouncer, NULL, 0), bouncer);
}

static void terminate_pooled(int number)
{
    (void)number;
    ASK("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
        "'signup-worker'"
        " AND pid <> pg_backend_pid()");
}

static void restart_bouncer(int number)
{
    (void)number;
    bouncer_stop();
    bouncer_start();
}

static void pooler_in_transaction_mode(void **state)
{
    (void)state;
    char dsn[128];
    if (access(BOUNCER, X_OK) != 0) {
        print_message("no pgbouncer here\n");
        skip();
    }
    bouncer_port = cluster_free_port();
    bouncer_start();
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%d user=postgres dbname=postgres", bouncer_port);
    load_run(dsn, true, NULL, OFTEN);
    load_run(dsn, true, terminate_pooled, OFTEN);
    assert_true(load.faults > 20);
    load_run(dsn, true, restart_bouncer, SELDOM);
    assert_true(load.faults > 7);
    /* Nothing of ours is left in a session that the pooler gives to others. */
    PGconn *next = PQconnectdb(dsn);
    assert_int_equal(PQstatus(next), CONNECTION_OK);
    PGresult *result =
        PQexec(next, "SELECT current_setting('statement_timeout') || ' ' || current_setting('enable_seqscan')"
                     " || ' ' || (SELECT count(*) FROM pg_prepared_statements)");
    assert_string_equal(PQgetvalue(result, 0, 0), "0 on 0");
    PQclear(result);
    PQfinish(next);
    bouncer_stop();
}

/* Without the setting for poolers the worker says what is wrong instead of losing anything. */
static void pooler_without_its_setting(void **state)
{
    (void)state;
    char dsn[128];
    struct peer peers[3];
    if (access(BOUNCER, X_OK) != 0)
        skip();
    bouncer_port = cluster_free_port();
    bouncer_start();
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%d user=postgres dbname=postgres", bouncer_port);
    for (int i = 0; i < 3; i++)
        peer_open_with(&peers[i], (struct ledger_config){.dsn = dsn, .schema = "signup"});
    bool said = false;
    for (double end = cluster_now() + 10; !said && cluster_now() < end;) {
        turn(5);
        for (int i = 0; i < 3; i++)
            said = said || (strstr(peers[i].why, "prepared statement") &&
                            peers[i].condition == LEDGER_CONDITION_AWAY);
    }
    assert_true(said);
    for (int i = 0; i < 3; i++)
        peer_close(&peers[i]);
    bouncer_stop();
}

static int open_nothing(void **state)
{
    (void)state;
    world_clear();
    return 0;
}

#define CASE(name) cmocka_unit_test_setup(name, open_nothing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(backends_terminated),
        CASE(statements_cancelled),
        CASE(backends_killed),
        CASE(server_restarted_fast),
        CASE(server_restarted_immediate),
        CASE(backends_frozen),
        CASE(postmaster_frozen),
        CASE(collisions_are_repeated),
        CASE(locked_table_is_waited_for),
        CASE(server_of_another_isolation),
        CASE(failover_to_the_standby),
        CASE(read_only_server_is_left),
        CASE(refusing_server_is_tried_again),
        CASE(pooler_in_transaction_mode),
        CASE(pooler_without_its_setting),
        CASE(disk_full),
    };
    return cmocka_run_group_tests_name("ledger/stress", tests, world_setup, world_teardown);
}
