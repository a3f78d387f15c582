/* Builds the parameters of one statement in PostgreSQL's binary format: scalars, and one array a column of
 * the batch. */
#ifndef SIGNUP_LEDGER_PARAMS_H
#define SIGNUP_LEDGER_PARAMS_H

#include "signup/base/buf.h"
#include "signup/base/clock.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMS_MAX 64

/* Element types, by their fixed numbers in pg_type. */
enum pg_type {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_TIMESTAMPTZ = 1184,
    PG_UUID = 2950,
    PG_JSONB = 3802
};

struct params {
    struct buf buf;
    size_t start[PARAMS_MAX];
    int lengths[PARAMS_MAX];
    const char *values[PARAMS_MAX]; /* valid after params_finish() */
    int formats[PARAMS_MAX];        /* all 1: binary */
    int count;
    uint32_t elements; /* of the array being written */
    bool has_null;
};

void params_init(struct params *params, size_t cap_bytes);
void params_fini(struct params *params);
void params_reset(struct params *params);

/* A parameter that is one value. */
void params_scalar_int8(struct params *params, int64_t value);
void params_scalar_uuid(struct params *params, const uint8_t bytes[16]);
void params_scalar_text(struct params *params, struct slice text);

/* A parameter that is an array: begin, exactly one put an element, end. */
void params_begin(struct params *params, enum pg_type element);
void params_put_null(struct params *params);
void params_put_text(struct params *params, struct slice text);  /* absent: null; also for bytea */
void params_put_jsonb(struct params *params, struct slice json); /* absent: null */
void params_put_bytes(struct params *params, const void *bytes, size_t len);
void params_put_int4(struct params *params, int32_t value);
void params_put_int8(struct params *params, int64_t value);
void params_put_bool(struct params *params, bool value);
void params_put_time(struct params *params, wall_us_t value);
void params_end(struct params *params);

/* Fills `values`. False: the cap was reached, nothing may be sent. */
bool params_finish(struct params *params) __attribute__((warn_unused_result));

/* PostgreSQL counts from 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

#endif
