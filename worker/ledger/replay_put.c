/* Parameters of replays, column by column. */
#include "replay_put.h"

#include "headers.h"
#include "result.h"

#define HEADERS_BYTES_MAX ((size_t)32 << 20)

#define COLUMN(params, type, each, count, put)                                                               \
    do {                                                                                                     \
        params_begin(params, type);                                                                          \
        for (size_t at_ = 0; at_ < (count); at_++) {                                                         \
            const __typeof__(*(each)) *it = &(each)[at_];                                                    \
            put;                                                                                             \
        }                                                                                                    \
        params_end(params);                                                                                  \
    } while (0)

/* ------------------------------------------------------------------ questions */

static void put_texts(struct params *params, const struct replay_texts *texts)
{
    params_begin(params, PG_TEXT);
    for (size_t i = 0; i < texts->count; i++)
        params_put_text(params, slice_from_str(texts->items[i]));
    params_end(params);
}

/* As timestamptz; the ends of int64 are the infinities. */
static void scalar_time(struct params *params, bool present, wall_us_t time, int64_t otherwise)
{
    params_scalar_int8(params, present ? time.us - PG_EPOCH_US : otherwise);
}

void replay_put_filter(struct params *params, const struct replay_filter *filter)
{
    params_reset(params);
    put_texts(params, &filter->codes);
    put_texts(params, &filter->classes);
    put_texts(params, &filter->lists);
    put_texts(params, &filter->ad_networks);
    put_texts(params, &filter->ad_ids);
    put_texts(params, &filter->event_ids);
    params_begin(params, PG_INT4);
    for (size_t i = 0; i < filter->status_count; i++)
        params_put_int4(params, filter->statuses[i]);
    params_end(params);
    scalar_time(params, filter->has_since, filter->since, INT64_MIN);
    scalar_time(params, filter->has_until, filter->until, INT64_MAX);
    params_scalar_int8(params, filter->superseded_too);
}

void replay_put_known(struct params *params, const struct replay_known *known, size_t count,
                      bool superseded_too)
{
    params_reset(params);
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->event_id));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->topic));
    COLUMN(params, PG_INT4, known, count, params_put_int4(params, it->partition));
    COLUMN(params, PG_INT8, known, count, params_put_int8(params, it->offset));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->phone_number));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->list_number));
    COLUMN(params, PG_TIMESTAMPTZ, known, count, params_put_time(params, it->dated));
    params_scalar_int8(params, superseded_too);
}

void replay_put_follow(struct params *params, const struct slice *event_ids, size_t count)
{
    params_reset(params);
    COLUMN(params, PG_TEXT, event_ids, count, params_put_text(params, *it));
}

/* ------------------------------------------------------------------ handing over */

void replay_put_tally(struct params *params, int64_t replay_id, const struct replay_tally *tally)
{
    params_scalar_int8(params, replay_id);
    params_scalar_int8(params, (int64_t)tally->unsubscribed);
    params_scalar_int8(params, (int64_t)tally->superseded);
    params_scalar_int8(params, (int64_t)tally->without_original);
    params_scalar_int8(params, (int64_t)tally->not_dead);
    params_scalar_int8(params, (int64_t)tally->failed);
}

static void put_ids(struct params *params, const struct replay_item *items, size_t count)
{
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->event_id));
}

void replay_put_items(struct params *params, const struct replay_item *items, size_t count)
{
    params_reset(params);
    put_ids(params, items, count);
}

static void put_int4_unless_zero(struct params *params, int32_t value)
{
    if (value)
        params_put_int4(params, value);
    else
        params_put_null(params);
}

static void put_signup_date(struct params *params, const struct signup *signup)
{
    if (signup->has_signup_date)
        params_put_time(params, signup->signup_date);
    else
        params_put_null(params);
}

static void put_headers(struct params *params, const struct record *original, bool ascii, struct buf *scratch)
{
    buf_reset(scratch);
    if (original->header_count) {
        headers_write(original, ascii, scratch);
        params_put_jsonb(params, buf_slice(scratch));
        params->buf.failed = params->buf.failed || !buf_ok(scratch);
    } else {
        params_put_null(params);
    }
}

static void put_timestamp(struct params *params, int64_t timestamp_ms)
{
    if (timestamp_ms != -1)
        params_put_int8(params, timestamp_ms);
    else
        params_put_null(params);
}

static void put_letter_identity(struct params *params, const struct replay_item *items, size_t count)
{
    put_ids(params, items, count);
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->original.topic));
    COLUMN(params, PG_INT4, items, count, params_put_int4(params, it->letter->original.partition));
    COLUMN(params, PG_INT8, items, count, params_put_int8(params, it->letter->original.offset));
    COLUMN(params, PG_TIMESTAMPTZ, items, count, params_put_time(params, it->letter->failed_at));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->phone_number));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->list_number));
    COLUMN(params, PG_BYTEA, items, count,
           params_put_bytes(params, it->letter->signup->digest, SIGNUP_DIGEST_BYTES));
}

/* The order is that of unnest() in replay_put_back_text. */
void replay_put_letters(struct params *params, const struct replay_item *items, size_t count, bool ascii)
{
    struct buf scratch;
    buf_init(&scratch, HEADERS_BYTES_MAX);
    params_reset(params);
    put_letter_identity(params, items, count);
    COLUMN(params, PG_INT4, items, count, put_int4_unless_zero(params, it->letter->http_status));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->code));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->message));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->cls));
    COLUMN(params, PG_TIMESTAMPTZ, items, count, put_signup_date(params, it->letter->signup));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->ad_network_source));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->ad_network_id));
    COLUMN(params, PG_BYTEA, items, count, params_put_text(params, it->letter->original.value));
    COLUMN(params, PG_JSONB, items, count, put_headers(params, &it->letter->original, ascii, &scratch));
    COLUMN(params, PG_BYTEA, items, count, params_put_text(params, it->letter->original.key));
    COLUMN(params, PG_INT8, items, count, put_timestamp(params, it->letter->original.timestamp_ms));
    COLUMN(params, PG_BOOL, items, count, params_put_bool(params, it->letter->maybe_sent));
    buf_fini(&scratch);
}
