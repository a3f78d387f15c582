/* Who is in work, by the observer's word: of one contact never more than one in a worker (I2). */
#include "parts.h"

#include "signup/core/delivery.h"

#include <string.h>

struct sim_lane_note {
    const struct delivery *in_work[SIM_CONTACTS_MANY];
};

/* Waiting for others of its contact, or over. */
static bool is_at_rest(const char *state)
{
    static const char *const rests[] = {"NEW", "QUEUED", "HELD", "DONE"};
    for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
        if (strcmp(state, rests[i]) == 0)
            return true;
    }
    return false;
}

void sim_lanes_observe(struct sim_life *life, const struct observation *seen)
{
    struct sim *sim = life->sim;
    if (seen->what != OBSERVED_MOVE || !seen->delivery || life->closing)
        return;
    bool was = !is_at_rest(seen->from);
    bool is = !is_at_rest(seen->to);
    bool given_back = strcmp(seen->from, "HELD") == 0 && strcmp(seen->to, "RECORDABLE") == 0;
    if (was == is || given_back)
        return;
    const struct signup *signup = delivery_signup(seen->delivery);
    int contact = sim_contact_find(sim, signup->phone_number, signup->list_number);
    if (!life->lanes)
        life->lanes = sim_alloc(sim, sizeof *life->lanes);
    for (int i = 0; contact < 0 && i < sim->contact_count; i++) {
        if (life->lanes->in_work[i] ==
            seen->delivery) /* its contact was taken from it: the database refuses it */
            contact = i;
    }
    if (contact < 0)
        return;
    const struct delivery **slot = &life->lanes->in_work[contact];
    if (is && *slot && *slot != seen->delivery)
        sim_fail(sim, "I2.lane",
                 sim_whom_record(sim_record_find(sim, delivery_record(seen->delivery)), life->worker),
                 "%.*s is in work while another event of contact %d is", (int)signup->event_id.len,
                 signup->event_id.ptr, contact);
    if (is)
        *slot = seen->delivery;
    else if (*slot == seen->delivery)
        *slot = NULL;
}
