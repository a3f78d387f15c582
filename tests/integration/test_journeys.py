"""Missed journeys: the API's remark that a list has welcome journeys which a signup did not use is classified,
counted, and told per list in the ledger's view, in /status and as a metric."""
from signups import LIST, OTHER_LIST, by_list, event, phone, warning_texts

THIRD_LIST = "+18335550123"


def test_missed_journeys_by_list(topics, ledger, workers, sim):
    """Signups without use_journeys on two lists miss a journey each; other remarks of the API are no missed journeys;
    the view, /status and the metrics tell the same numbers, by list."""
    worker = workers()
    for number in (30, 31):
        sim.control("POST", "/_sim/contact", {"phone": phone(number), "list": THIRD_LIST, "active": False, "create": True})
    topics.source.produce([
        *(event(number, use_journeys=False) for number in range(7)),
        event(0, event_id="again", use_journeys="no"),
        *(event(number, use_journeys=False, list_number=OTHER_LIST) for number in range(10, 13)),
        *(event(number) for number in range(20, 25)),
        *(event(number, list_number=THIRD_LIST) for number in (30, 31)),
    ])
    ledger.wait_states(accepted=18)
    for name, code in (("e-0", "journeys_not_used"), ("again", "journeys_not_used"), ("e-30", "api_warning")):
        assert set(warning_texts(ledger, name)) == {code}, name
    assert ledger.warnings("e-20") == []
    wanted = {LIST: (8, 7), OTHER_LIST: (3, 3)}
    gaps = ledger.query("SELECT * FROM {schema}.journey_gap")
    assert {row["list_number"]: (row["events"], row["contacts"]) for row in gaps} == wanted
    assert all("use_journeys" in row["message"] for row in gaps)
    events = {number: count for number, (count, _) in wanted.items()}
    assert by_list(worker.status()["journeys_missed"]) == events
    assert worker.status()["counters"]["journeys_missed"] == worker.metric("signup_journeys_missed_total") == 11
    assert {number: worker.metric("signup_journeys_missed_total", list=number) for number in wanted} == events
    assert worker.metric("signup_journeys_missed_total", list=THIRD_LIST) is None
