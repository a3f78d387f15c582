"""The day's budget for phone validation: it is kept by all workers together, whoever needs no money is not held up by
it, and what was spent is the same wherever one looks: ledger, /status, metrics, and the vendor's own count."""
import datetime

import pytest

from signup_harness import wait_until
from signups import (LIST, OTHER_LIST, PRICE_USD, assert_enrolled_once, calls, event, make_due, phone, wait_settled,
                     warning_texts)

PLAIN = "+18335550113"
SPENT = "the day's budget for phone validation is spent"


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


def midnight():
    return (utc_now() + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def in_the_middle_of_a_day():
    """These tests look at one day of UTC and must not begin just before its end."""
    wait_until(lambda: midnight() - utc_now() > datetime.timedelta(minutes=1), 70, "the next day, UTC", interval=0.5)


def limited(lookups_a_day, **more):
    """The part of a configuration that gates everything but the list PLAIN, on a budget for so many lookups."""
    return {"mode": "gate", "lists": {PLAIN: "off"}, "daily_budget_usd": f"{lookups_a_day * PRICE_USD:.3f}", **more}


def spend(worker):
    """(spent today, the budget) in US dollars, by /status."""
    told = worker.status()["spend"]
    return pytest.approx(told["spent_usd"]), pytest.approx(told["budget_usd"])


def metric_spend(worker):
    """The same, by the metrics."""
    return worker.metric("signup_validation_spent_today_usd"), worker.metric("signup_validation_budget_usd")


def recorded_spend(ledger):
    """(paid lookups, US dollars) of today by the budget's table, by the rows of the events."""
    [day] = ledger.query("SELECT sum(paid)::int AS paid, sum(cost_usd)::float8 AS cost FROM {schema}.validation_day"
                         " WHERE day = (now() AT TIME ZONE 'UTC')::date")
    [rows] = ledger.query("SELECT sum(paid_lookups)::int AS paid, sum(cost_usd)::float8 AS cost"
                          " FROM {schema}.validation_spend WHERE day = (now() AT TIME ZONE 'UTC')::date")
    assert day["paid"] == rows["paid"] and day["cost"] == pytest.approx(rows["cost"])
    return day["paid"], pytest.approx(day["cost"])


def next_day(ledger, worker):
    """What was spent today was spent yesterday, and what waits for tomorrow is due: midnight, but for the clock. The
    worker has to have looked before anything is due, or it would park it for the true midnight."""
    ledger.query("UPDATE {schema}.validation_day SET day = day - 1")
    wait_until(lambda: spend(worker)[0] == 0, 10, lambda: f"a look at the new day: {worker.status()['spend']}")
    make_due(ledger)


def test_what_is_beyond_the_budget_waits_for_tomorrow(topics, ledger, workers, sim):
    """Money for ten lookups: ten are paid, the others are parked until after midnight UTC with a code of their own,
    once said in the log; events without validation and phones that are known flow; the next day the others go."""
    worker = workers(validation=limited(10))
    topics.source.produce([event(number) for number in range(10)])
    ledger.wait_states(accepted=10)
    worker.wait_log(SPENT)
    topics.source.produce([*(event(number) for number in range(10, 25)),
                           *(event(100 + number, list_number=PLAIN) for number in range(10)),
                           *(event(number, event_id=f"known-{number}", list_number=OTHER_LIST) for number in range(10))])
    ledger.wait_states(accepted=30, parked=15)
    assert len(sim.lookups()) == sim.stats()["lookups_paid"] == 10
    for row in ledger.rows("state = 'parked'"):
        assert (row["code"], row["http_status"], row["attempts"]) == ("validation_budget_spent", None, 0)
        assert "daily_budget_usd" in row["error"] and row["payload"] is not None
        assert midnight() <= row["due_at"] <= midnight() + datetime.timedelta(minutes=2)
        assert not calls(sim, phone=row["phone_number"])
    assert recorded_spend(ledger) == (10, 10 * PRICE_USD)
    assert spend(worker) == metric_spend(worker) == (10 * PRICE_USD, 10 * PRICE_USD)
    assert worker.status()["spend"]["exhausted"] is True and worker.metric("signup_validation_budget_exhausted") == 1
    assert worker.metric("signup_validation_cost_usd_total") == pytest.approx(10 * PRICE_USD)
    assert "validation budget" in worker.get("/readyz")[1]
    counters = worker.status()["counters"]
    assert (counters["budget_parked"], counters["validations_paid"], counters["validations_known"]) == (15, 10, 10)
    assert worker.log_text().count(SPENT) == 1 and worker.is_ready()

    next_day(ledger, worker)
    ledger.wait_states(accepted=40, parked=5)  # another day's ten
    assert sim.stats()["lookups_paid"] == 20
    next_day(ledger, worker)
    ledger.wait_states(accepted=45)
    assert sim.stats()["lookups_paid"] == 25 == len(sim.lookups())
    assert topics.dead_letter.consume() == []
    assert_enrolled_once(sim)
    wait_settled(topics.source, topics.group)


def test_beyond_the_budget_without_validation(topics, ledger, workers, sim):
    """on_budget_spent: without_validation, within the upsert as before it: money for five, the others go without,
    each with a warning; what was spent survives a restart."""
    worker = workers(validation=limited(5, on_budget_spent="without_validation", lists={PLAIN: "inline"}))
    topics.source.produce([event(number) for number in range(5)])
    ledger.wait_states(accepted=5)
    topics.source.produce([event(number, list_number=PLAIN if number % 2 else LIST) for number in range(5, 15)])
    ledger.wait_states(accepted=15)
    worker.restart()
    topics.source.produce([event(number, list_number=PLAIN if number % 2 else LIST) for number in range(15, 21)])
    ledger.wait_states(accepted=21)
    assert sim.stats()["lookups_paid"] == 5
    for number in range(5, 21):
        row = ledger.row(f"e-{number}")
        assert row["validation"] is None and row["request"]["use_validation"] is False
        assert "budget" in warning_texts(ledger, f"e-{number}")["validation_skipped"]
    assert [warning_texts(ledger, f"e-{number}") for number in range(5)] == [{}] * 5
    assert recorded_spend(ledger) == (5, 5 * PRICE_USD)
    assert spend(worker) == (5 * PRICE_USD, 5 * PRICE_USD)


def test_inline_validation_is_on_the_same_budget(topics, ledger, workers, sim):
    """Validation within the upsert spends the day's money, too, and waits for tomorrow when there is none; a known
    phone costs nothing and goes."""
    worker = workers(validation={"mode": "inline", "daily_budget_usd": "0.006"})
    topics.source.produce([event(0), event(1)])
    ledger.wait_states(accepted=2)
    wait_until(lambda: spend(worker) == (2 * PRICE_USD, 2 * PRICE_USD), 10, lambda: f"the spend: {spend(worker)}")
    topics.source.produce([event(2), event(3), event(0, event_id="known", list_number=OTHER_LIST)])
    ledger.wait_states(accepted=3, parked=2)
    assert sim.stats()["lookups_paid"] == 2
    assert {row["code"] for row in ledger.rows("state = 'parked'")} == {"validation_budget_spent"}
    assert ledger.row("known")["validation"]["cost"] == 0
    assert recorded_spend(ledger) == (2, 2 * PRICE_USD)


def test_a_budget_of_nothing(topics, ledger, workers, sim):
    """daily_budget_usd: 0 asks nobody; a refusal that is known is a refusal all the same."""
    workers(validation=limited(0, on_budget_spent="without_validation"))
    topics.source.produce([event(1)])
    ledger.wait_states(accepted=1)
    ledger.query("INSERT INTO {schema}.phone_validation (phone_number, validation)"
                 " VALUES (%s, '{\"disposition\": \"invalid\", \"cost\": 0.003, \"cached\": false}')", (phone(2),))
    topics.source.produce([event(2)])
    ledger.wait_states(accepted=1, dead=1)
    assert sim.lookups() == [] and ledger.row("e-2")["code"] == "validation_refused"


@pytest.mark.partitions(8)
def test_two_workers_share_one_budget(topics, ledger, workers, sim):
    """Two workers as fast as they can, eight calls in flight each, money for a hundred lookups and a thousand phones:
    all of it is spent, by both, and beyond it no more than what was under way when the last of it went."""
    money, in_flight = 100, 8
    both = [workers(validation=limited(money), contacts_api={"max_in_flight": in_flight}) for _ in range(2)]
    wait_until(lambda: all(worker.metric("signup_assigned_partitions") == 4 for worker in both), 30, "four partitions each")
    topics.source.produce([event(number) for number in range(1000)])
    wait_until(lambda: sum(ledger.states().values()) == 1000 and not ledger.states().get("claimed"), 60,
               lambda: f"everybody's place: {ledger.states()}")
    paid = sim.stats()["lookups_paid"]
    assert money <= paid <= money + 2 * in_flight, paid
    assert ledger.states() == {"accepted": paid, "parked": 1000 - paid}
    assert all(worker.status()["counters"]["validations_paid"] > 0 for worker in both)
    assert recorded_spend(ledger) == (paid, paid * PRICE_USD)
    for worker in both:
        wait_until(lambda: spend(worker)[0] == paid * PRICE_USD, 10, lambda: f"the spend: {spend(worker)}")
    assert sum(worker.metric("signup_validation_cost_usd_total") for worker in both) == pytest.approx(paid * PRICE_USD)
