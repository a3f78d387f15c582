/* Parameters of the statements of replays (replay_sql.h). Each but the tally begins anew; the tally stands behind what was put
 * before, or alone after params_reset(). */
#ifndef SIGNUP_LEDGER_REPLAY_PUT_H
#define SIGNUP_LEDGER_REPLAY_PUT_H

#include "params.h"
#include "signup/ledger/replay.h"

/* select */
void replay_put_filter(struct params *params, const struct replay_filter *filter);
/* look */
void replay_put_known(struct params *params, const struct replay_known *known, size_t count, bool superseded_too);
/* hand_over, the tally behind it */
void replay_put_items(struct params *params, const struct replay_item *items, size_t count);
/* put_back, the tally behind it; `ascii`: the database's encoding is not UTF-8 */
void replay_put_letters(struct params *params, const struct replay_item *items, size_t count, bool ascii);
/* finish, alone */
void replay_put_tally(struct params *params, int64_t replay_id, const struct replay_tally *tally);
/* follow */
void replay_put_follow(struct params *params, const struct slice *event_ids, size_t count);

#endif
