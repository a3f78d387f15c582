/* Proves the day's spend alone, within a pipeline that has nothing else: what may begin, what it counts, what the ledger's answers
 * change, and what a new day does. */
#include "spend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "state.h"

#define PRICE VALIDATION_PRICE
#define DAY_US (3600 * US_PER_S)

/* The pipeline under test, and the ledger that it asks. */
struct bench {
    struct pipeline pipeline;
    struct ledger_port ledger;
    struct observer_port observer;
    struct spend_op *asked; /* NULL: nothing is under way */
    int asks;
    bool away; /* takes nothing */
    int waits, resumes;
};

static enum port_status bench_spend(void *ctx, struct spend_op *op)
{
    struct bench *bench = ctx;
    if (bench->away)
        return PORT_AWAY;
    bench->asked = op;
    bench->asks++;
    return PORT_OK;
}

static void bench_observe(void *ctx, const struct observation *seen)
{
    struct bench *bench = ctx;
    assert_string_equal(seen->text, "budget");
    bench->waits += seen->what == OBSERVED_WAIT;
    bench->resumes += seen->what == OBSERVED_RESUME;
}

static void bench_init(struct bench *bench, int64_t budget)
{
    memset(bench, 0, sizeof *bench);
    struct pipeline *pipeline = &bench->pipeline;
    pipeline_config_defaults(&pipeline->config);
    pipeline->config.daily_budget = budget;
    pipeline->now = (mono_us_t){US_PER_S};
    gate_init(&pipeline->ledger_pace, "ledger", 4, 0);
    bench->ledger.spend = bench_spend;
    bench->observer.observe = bench_observe;
    pipeline->ports.ledger = &bench->ledger;
    pipeline->ports.ledger_ctx = bench;
    pipeline->ports.observer = &bench->observer;
    pipeline->ports.observer_ctx = bench;
}

static void tick(struct bench *bench, int64_t later_us)
{
    bench->pipeline.now = mono_add(bench->pipeline.now, later_us);
    spend_take_answer(&bench->pipeline);
    spend_tick(&bench->pipeline);
}

static void answer(struct bench *bench, int64_t spent, int64_t day_ends_in_us)
{
    struct spend_op *op = bench->asked;
    assert_non_null(op);
    bench->asked = NULL;
    op->spent = spent;
    op->day = 20370;
    op->day_ends_in_us = day_ends_in_us;
    op->done(op, LEDGER_OK);
    tick(bench, 0);
}

/* Ready to spend, `spent` being told. */
static void bench_begin(struct bench *bench, int64_t budget, int64_t spent)
{
    bench_init(bench, budget);
    tick(bench, 0);
    answer(bench, spent, DAY_US);
}

static enum spend_answer admits(struct bench *bench)
{
    return spend_admits(&bench->pipeline);
}

static void pay(struct bench *bench, struct delivery *dl, int64_t cost)
{
    spend_reserve(&bench->pipeline, dl);
    spend_settle(&bench->pipeline, dl, cost);
}

static void without_a_budget_all_may_go(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, BUDGET_NONE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    tick(&bench, 0);
    assert_int_equal(bench.asks, 1); /* for people */
    answer(&bench, 1000 * PRICE, DAY_US);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    assert_int_equal(spend_total(&bench.pipeline), 1000 * PRICE);
    assert_int_equal(bench.waits, 0);
}

static void nobody_goes_before_the_ledger_has_told(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 10 * PRICE);
    assert_int_equal(admits(&bench), SPEND_WAITS);
    tick(&bench, 0);
    assert_int_equal(admits(&bench), SPEND_WAITS);
    answer(&bench, 0, DAY_US);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    assert_int_equal(spend_day_left_us(&bench.pipeline), DAY_US);
}

static void the_last_one_must_fit(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, 3 * PRICE, 2 * PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    bench_begin(&bench, 3 * PRICE - 1, 2 * PRICE);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    bench_begin(&bench, 0, 0);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    bench_begin(&bench, PRICE - 1, 0);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    bench_begin(&bench, PRICE, 0);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
}

/* The ledger says the same as before, and what has been recorded since. */
static void look_again(struct bench *bench, int64_t spent)
{
    spend_want(&bench->pipeline);
    tick(bench, US_PER_S);
    answer(bench, spent, DAY_US);
}

static void what_is_under_way_is_waited_for(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery a = {0};
    struct delivery b = {0};
    bench_begin(&bench, 100 * PRICE, 98 * PRICE);
    spend_reserve(&bench.pipeline, &a);
    assert_int_equal(admits(&bench), SPEND_WAITS); /* for the ledger: the others spend, too */
    look_again(&bench, 98 * PRICE);
    assert_int_equal(admits(&bench), SPEND_WAITS);
    spend_settle(&bench.pipeline, &a, 0);
    assert_int_equal(admits(&bench), SPEND_ADMITS); /* it has cost nothing */
    spend_reserve(&bench.pipeline, &a);
    spend_settle(&bench.pipeline, &a, PRICE);
    spend_record(&bench.pipeline, &a);
    assert_int_equal(spend_total(&bench.pipeline), 99 * PRICE);
    look_again(&bench, 99 * PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    spend_reserve(&bench.pipeline, &b);
    assert_int_equal(admits(&bench), SPEND_WAITS); /* the last one: it may cost nothing */
    spend_settle(&bench.pipeline, &b, PRICE);
    spend_record(&bench.pipeline, &b);
    look_again(&bench, 100 * PRICE);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    assert_int_equal(spend_total(&bench.pipeline), 100 * PRICE);
}

/* Between two looks a worker takes a sixteenth of what is left, because the others do not stand still. */
static void a_worker_takes_its_share(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl[200] = {0};
    int started = 0;
    bench_begin(&bench, 164 * PRICE, 4 * PRICE);
    while (started < 200 && admits(&bench) == SPEND_ADMITS)
        spend_reserve(&bench.pipeline, &dl[started++]);
    assert_int_equal(started, 10);
    assert_int_equal(admits(&bench), SPEND_WAITS);
    mono_us_t later = spend_next(&bench.pipeline);
    spend_want(&bench.pipeline);
    assert_true(spend_next(&bench.pipeline).us < later.us);
    int asks = bench.asks;
    for (int i = 0; i < 10; i++) {
        spend_want(&bench.pipeline);
        tick(&bench, US_PER_MS); /* but not with every tick */
    }
    assert_true(bench.asks <= asks + 1);
}

static void only_what_costs_is_counted(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 10 * PRICE, 0);
    pay(&bench, &dl, 0);
    assert_int_equal(dl.cost, 0);
    assert_int_equal(bench.pipeline.counters.validations_paid, 0);
    pay(&bench, &dl, PRICE);
    pay(&bench, &dl, PRICE + 1000); /* whatever it costs in the end */
    assert_int_equal(dl.cost, 2 * PRICE + 1000);
    assert_int_equal(bench.pipeline.counters.validations_paid, 2);
    assert_int_equal(bench.pipeline.counters.validation_cost, 2 * PRICE + 1000);
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE + 1000);
    spend_settle(&bench.pipeline, &dl, 0); /* nothing was reserved */
    assert_int_equal(bench.pipeline.spend.reserved, 0);
}

/* Unrecorded, recorded, and told of by the ledger: it is counted once all the time. */
static void it_is_counted_once(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 10 * PRICE, PRICE);
    pay(&bench, &dl, PRICE);
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE);
    spend_record(&bench.pipeline, &dl);
    assert_int_equal(dl.cost, 0);
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE);
    spend_leave(&bench.pipeline, &dl); /* the delivery is over */
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE);
    tick(&bench, bench.pipeline.config.spend_interval_us);
    assert_int_equal(bench.asks, 2);
    answer(&bench, 2 * PRICE, DAY_US);
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE);
}

/* It is recorded while the ledger is being asked, behind the question: the answer has it not, and both come within one tick. */
static void what_is_recorded_meanwhile_is_not_forgotten(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 2 * PRICE, 0);
    pay(&bench, &dl, PRICE);
    tick(&bench, bench.pipeline.config.spend_interval_us);
    bench.asked->spent = 0;
    bench.asked->day = 20370;
    bench.asked->day_ends_in_us = DAY_US;
    bench.asked->done(bench.asked, LEDGER_OK);
    bench.asked = NULL;
    spend_record(&bench.pipeline, &dl); /* the tick takes the records' answers first */
    tick(&bench, 0);
    assert_int_equal(spend_total(&bench.pipeline), PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    spend_reserve(&bench.pipeline, &dl);
    assert_int_equal(admits(&bench), SPEND_WAITS);
}

/* Its answer was lost: the ledger has it already and it is recorded once more. Nobody is sent away for the day because it is in two sums. */
static void what_is_in_doubt_does_not_end_the_day(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 2 * PRICE, 0);
    pay(&bench, &dl, PRICE);
    look_again(&bench, PRICE);
    assert_int_not_equal(admits(&bench), SPEND_EXHAUSTED);
    spend_record(&bench.pipeline, &dl);
    assert_int_not_equal(admits(&bench), SPEND_EXHAUSTED);
    look_again(&bench, PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
}

static void what_others_spend_counts(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, 4 * PRICE, 0);
    tick(&bench, bench.pipeline.config.spend_interval_us);
    answer(&bench, 4 * PRICE, DAY_US);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    assert_int_equal(bench.waits, 1);
    tick(&bench, bench.pipeline.config.spend_interval_us);
    answer(&bench, 4 * PRICE, DAY_US);
    assert_int_equal(bench.waits, 1); /* said once */
    assert_int_equal(bench.resumes, 0);
}

/* Whoever has lost the claim of an event has paid all the same. */
static void what_is_lost_counts_until_midnight(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 2 * PRICE, 0);
    pay(&bench, &dl, PRICE);
    spend_reserve(&bench.pipeline, &dl);
    spend_leave(&bench.pipeline, &dl);
    assert_int_equal(dl.cost, 0);
    assert_int_equal(dl.reserved, 0);
    assert_int_equal(bench.pipeline.spend.reserved, 0);
    assert_int_equal(spend_total(&bench.pipeline), PRICE);
    tick(&bench, bench.pipeline.config.spend_interval_us);
    answer(&bench, 0, US_PER_S);
    assert_int_equal(spend_total(&bench.pipeline), PRICE);
    tick(&bench, US_PER_S);
    answer(&bench, 0, DAY_US);
    assert_int_equal(spend_total(&bench.pipeline), 0);
}

static void a_new_day_begins_with_a_question(void **state)
{
    (void)state;
    struct bench bench;
    struct delivery dl = {0};
    bench_begin(&bench, 2 * PRICE, 2 * PRICE);
    assert_int_equal(bench.waits, 1);
    pay(&bench, &dl, PRICE); /* it was under way before; recorded tomorrow */
    tick(&bench, DAY_US - 1);
    if (bench.asked)
        answer(&bench, 2 * PRICE, 1);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
    assert_int_equal(spend_next(&bench.pipeline).us, bench.pipeline.now.us + 1);
    int asks = bench.asks;
    tick(&bench, 1);
    assert_int_equal(bench.asks, asks + 1);
    assert_int_equal(admits(&bench), SPEND_WAITS); /* the others have begun too */
    assert_int_equal(bench.resumes, 0);
    answer(&bench, 0, DAY_US);
    assert_int_equal(bench.resumes, 1);
    assert_int_equal(spend_total(&bench.pipeline), PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    spend_record(&bench.pipeline, &dl);
    assert_int_equal(spend_total(&bench.pipeline), PRICE);
}

static void it_asks_at_intervals(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, 2 * PRICE, 0);
    int64_t interval = bench.pipeline.config.spend_interval_us;
    assert_int_equal(spend_next(&bench.pipeline).us, bench.pipeline.now.us + interval);
    tick(&bench, interval - 1);
    assert_int_equal(bench.asks, 1);
    tick(&bench, 1);
    assert_int_equal(bench.asks, 2);
    tick(&bench, interval);
    assert_int_equal(bench.asks, 2); /* one at a time */
    answer(&bench, 0, DAY_US);
    assert_int_equal(bench.asks, 3); /* it is due since then */
    bench.asked->done(bench.asked, LEDGER_OK);
    bench.pipeline.draining = true;
    tick(&bench, interval);
    assert_int_equal(bench.asks, 3); /* nothing begins any more */
}

/* Without an answer what was told goes on to hold, and it asks again. */
static void a_ledger_that_is_away_changes_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, 4 * PRICE, 2 * PRICE);
    int64_t interval = bench.pipeline.config.spend_interval_us;
    tick(&bench, interval);
    struct spend_op *op = bench.asked;
    bench.asked = NULL;
    op->done(op, LEDGER_AWAY);
    tick(&bench, 0);
    assert_true(bench.pipeline.ledger_away);
    assert_int_equal(spend_total(&bench.pipeline), 2 * PRICE);
    assert_int_equal(admits(&bench), SPEND_ADMITS);
    bench.away = true;
    tick(&bench, 2 * interval);
    assert_null(bench.asked);
    bench.away = false;
    tick(&bench, 2 * interval);
    answer(&bench, 4 * PRICE, DAY_US);
    assert_int_equal(admits(&bench), SPEND_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_budget_all_may_go),
        cmocka_unit_test(nobody_goes_before_the_ledger_has_told),
        cmocka_unit_test(the_last_one_must_fit),
        cmocka_unit_test(what_is_under_way_is_waited_for),
        cmocka_unit_test(a_worker_takes_its_share),
        cmocka_unit_test(only_what_costs_is_counted),
        cmocka_unit_test(it_is_counted_once),
        cmocka_unit_test(what_is_recorded_meanwhile_is_not_forgotten),
        cmocka_unit_test(what_is_in_doubt_does_not_end_the_day),
        cmocka_unit_test(what_others_spend_counts),
        cmocka_unit_test(what_is_lost_counts_until_midnight),
        cmocka_unit_test(a_new_day_begins_with_a_question),
        cmocka_unit_test(it_asks_at_intervals),
        cmocka_unit_test(a_ledger_that_is_away_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
