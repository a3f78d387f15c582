/* Any text as a date: what is read lies within the years 1 to 9999, prints as a text that reads as the same
 * time, and does not hang on blanks around it; the plain form of ISO 8601 is what the C library's calendar
 * says. */
#include "fuzz.h"

#include "date.h"

#include <string.h>
#include <time.h>

static bool same(struct slice text, wall_us_t wanted)
{
    wall_us_t date;
    return date_from_text(text, &date) && date.us == wanted.us;
}

/* YYYY-MM-DDThh:mm:ssZ, no leap second: by timegm(). */
static void check_plain(struct slice text, bool read, wall_us_t date)
{
    static const char shape[] = "0000-00-00T00:00:00Z";
    int parts[6];
    char room[sizeof shape];
    if (text.len != sizeof shape - 1)
        return;
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        if (shape[i] == '0' ? !digit : text.ptr[i] != shape[i])
            return;
    }
    memcpy(room, text.ptr, text.len);
    room[text.len] = '\0';
    REQUIRE(sscanf(room, "%4d-%2d-%2dT%2d:%2d:%2dZ", &parts[0], &parts[1], &parts[2], &parts[3], &parts[4],
                   &parts[5]) == 6);
    if (parts[3] >= 24 || parts[4] >= 60 || parts[5] >= 60)
        return;
    struct tm tm = {.tm_year = parts[0] - 1900,
                    .tm_mon = parts[1] - 1,
                    .tm_mday = parts[2],
                    .tm_hour = parts[3],
                    .tm_min = parts[4],
                    .tm_sec = parts[5]};
    time_t wanted = timegm(&tm);
    /* timegm() takes the 30th of February for the second of March. */
    bool there = parts[0] >= 1 && tm.tm_mon == parts[1] - 1 && tm.tm_mday == parts[2];
    REQUIRE(read == there);
    REQUIRE(!read || date.us == (int64_t)wanted * US_PER_S);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    wall_us_t date = {0};
    char printed[WALL_TEXT_BYTES];
    bool read = date_from_text(text, &date);
    check_plain(text, read, date);
    if (!read)
        return 0;
    REQUIRE(date.us % US_PER_S == 0);
    REQUIRE(date.us >= INT64_C(-62135596800) * US_PER_S && date.us <= INT64_C(253402300799) * US_PER_S);
    wall_format_utc(date, printed);
    REQUIRE(same(slice_from_str(printed), date));
    char *padded = malloc(size + 2);
    REQUIRE(padded);
    padded[0] = '\t';
    memcpy(padded + 1, data, size);
    padded[size + 1] = ' ';
    REQUIRE(same((struct slice){padded, size + 2}, date));
    free(padded);
    return 0;
}
