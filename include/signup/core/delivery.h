/* What an observer may ask of a delivery: for log lines and traces. */
#ifndef SIGNUP_CORE_DELIVERY_H
#define SIGNUP_CORE_DELIVERY_H

#include "signup/base/outcome.h"
#include "signup/event/record.h"
#include "signup/event/signup.h"

struct delivery;

const struct signup *delivery_signup(const struct delivery *dl);
const struct record *delivery_record(const struct delivery *dl);
/* NULL: nothing was answered yet. */
const struct outcome *delivery_outcome(const struct delivery *dl);
int delivery_attempts(const struct delivery *dl);

#endif
