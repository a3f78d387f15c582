/* Reads binary results. The caller knows the column's type; nulls are asked for first where they may occur.
 */
#ifndef SIGNUP_LEDGER_RESULT_H
#define SIGNUP_LEDGER_RESULT_H

#include "params.h"
#include "signup/base/slice.h"

#include <assert.h>
#include <endian.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline int32_t result_int4(const PGresult *result, int row, int column)
{
    uint32_t wire;
    assert(PQgetlength(result, row, column) == 4);
    memcpy(&wire, PQgetvalue(result, row, column), sizeof wire);
    return (int32_t)be32toh(wire);
}

static inline int64_t result_int8(const PGresult *result, int row, int column)
{
    uint64_t wire;
    assert(PQgetlength(result, row, column) == 8);
    memcpy(&wire, PQgetvalue(result, row, column), sizeof wire);
    return (int64_t)be64toh(wire);
}

static inline bool result_bool(const PGresult *result, int row, int column)
{
    assert(PQgetlength(result, row, column) == 1);
    return *PQgetvalue(result, row, column) != 0;
}

static inline char result_char(const PGresult *result, int row, int column)
{
    assert(PQgetlength(result, row, column) == 1);
    return *PQgetvalue(result, row, column);
}

static inline wall_us_t result_time(const PGresult *result, int row, int column)
{
    return (wall_us_t){result_int8(result, row, column) + PG_EPOCH_US};
}

/* An interval of days and microseconds, as the difference of two times is. */
static inline int64_t result_interval_us(const PGresult *result, int row, int column)
{
    uint64_t time;
    uint32_t rest[2]; /* days, months */
    assert(PQgetlength(result, row, column) == sizeof time + sizeof rest);
    memcpy(&time, PQgetvalue(result, row, column), sizeof time);
    memcpy(rest, PQgetvalue(result, row, column) + sizeof time, sizeof rest);
    assert(rest[1] == 0);
    return (int64_t)be64toh(time) + (int32_t)be32toh(rest[0]) * (INT64_C(86400) * US_PER_S);
}

/* Absent where null; borrows from the result. */
static inline struct slice result_slice(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return SLICE_ABSENT;
    return (struct slice){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

#endif
