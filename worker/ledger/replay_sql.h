/* All SQL of replays, for commands; that of the running worker is in sql.c. {schema} is replaced by sql_render(). */
#ifndef SIGNUP_LEDGER_REPLAY_SQL_H
#define SIGNUP_LEDGER_REPLAY_SQL_H

/* Parameters are those of replay_put.h, in its order, but for begin: who, reason, selection, how many are selected. */
extern const char replay_select_text[];
extern const char replay_look_text[];
extern const char replay_hand_over_text[];
extern const char replay_put_back_text[];
extern const char replay_begin_text[];
extern const char replay_finish_text[];
extern const char replay_follow_text[];

#endif
