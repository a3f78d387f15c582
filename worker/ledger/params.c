/* Binary parameters. Arrays follow array_recv(): dimensions, null flag, element type, then length-prefixed
 * elements. */
#include "params.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>

enum { ARRAY_FLAGS_AT = 4, ARRAY_SIZE_AT = 12, JSONB_VERSION = 1 };

void params_init(struct params *params, size_t cap_bytes)
{
    memset(params, 0, sizeof *params);
    buf_init(&params->buf, cap_bytes);
}

void params_fini(struct params *params)
{
    buf_fini(&params->buf);
}

void params_reset(struct params *params)
{
    buf_reset(&params->buf);
    params->count = 0;
}

static void put_be32(struct params *params, uint32_t value)
{
    uint32_t wire = htonl(value);
    buf_append(&params->buf, &wire, sizeof wire);
}

static void put_be64(struct params *params, uint64_t value)
{
    uint64_t wire = htobe64(value);
    buf_append(&params->buf, &wire, sizeof wire);
}

static void scalar(struct params *params, const void *bytes, size_t len)
{
    assert(params->count < PARAMS_MAX);
    params->start[params->count] = params->buf.len;
    params->lengths[params->count++] = (int)len;
    buf_append(&params->buf, bytes, len);
}

void params_scalar_int8(struct params *params, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    scalar(params, &wire, sizeof wire);
}

void params_scalar_uuid(struct params *params, const uint8_t bytes[16])
{
    scalar(params, bytes, 16);
}

void params_scalar_text(struct params *params, struct slice text)
{
    scalar(params, text.ptr, text.len);
}

void params_begin(struct params *params, enum pg_type element)
{
    assert(params->count < PARAMS_MAX);
    params->start[params->count] = params->buf.len;
    params->elements = 0;
    params->has_null = false;
    put_be32(params, 1); /* dimensions */
    put_be32(params, 0); /* has nulls: patched */
    put_be32(params, (uint32_t)element);
    put_be32(params, 0); /* size: patched */
    put_be32(params, 1); /* lower bound */
}

void params_put_null(struct params *params)
{
    params->elements++;
    params->has_null = true;
    put_be32(params, UINT32_MAX);
}

void params_put_bytes(struct params *params, const void *bytes, size_t len)
{
    params->elements++;
    put_be32(params, (uint32_t)len);
    buf_append(&params->buf, bytes, len);
}

void params_put_text(struct params *params, struct slice text)
{
    if (slice_present(text))
        params_put_bytes(params, text.ptr, text.len);
    else
        params_put_null(params);
}

void params_put_jsonb(struct params *params, struct slice json)
{
    if (!slice_present(json)) {
        params_put_null(params);
        return;
    }
    params->elements++;
    put_be32(params, (uint32_t)json.len + 1);
    buf_append_char(&params->buf, JSONB_VERSION);
    buf_append(&params->buf, json.ptr, json.len);
}

void params_put_int4(struct params *params, int32_t value)
{
    params->elements++;
    put_be32(params, 4);
    put_be32(params, (uint32_t)value);
}

void params_put_int8(struct params *params, int64_t value)
{
    params->elements++;
    put_be32(params, 8);
    put_be64(params, (uint64_t)value);
}

void params_put_bool(struct params *params, bool value)
{
    params->elements++;
    put_be32(params, 1);
    buf_append_char(&params->buf, value ? 1 : 0);
}

void params_put_time(struct params *params, wall_us_t value)
{
    /* INT64_MIN itself would mean "-infinity". */
    int64_t shifted = value.us <= INT64_MIN + PG_EPOCH_US ? INT64_MIN + 1 : value.us - PG_EPOCH_US;
    params_put_int8(params, shifted);
}

static void patch_be32(struct params *params, size_t at, uint32_t value)
{
    uint32_t wire = htonl(value);
    memcpy(params->buf.data + at, &wire, sizeof wire);
}

void params_end(struct params *params)
{
    size_t start = params->start[params->count];
    if (!params->buf.failed) {
        patch_be32(params, start + ARRAY_FLAGS_AT, params->has_null ? 1 : 0);
        patch_be32(params, start + ARRAY_SIZE_AT, params->elements);
        if (!params->elements) { /* an empty array has no dimensions */
            patch_be32(params, start, 0);
            params->buf.len = start + ARRAY_SIZE_AT;
        }
    }
    params->lengths[params->count++] = (int)(params->buf.len - start);
}

bool params_finish(struct params *params)
{
    if (!buf_ok(&params->buf))
        return false;
    for (int i = 0; i < params->count; i++) {
        params->values[i] = params->buf.data + params->start[i];
        params->formats[i] = 1;
    }
    return true;
}
