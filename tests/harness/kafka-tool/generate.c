/* Synthetic signup events with unique, plausible phones. */
#include "generate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Geographic area codes of the United States that have been in service for decades. */
static const int area_codes[] = {
    201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 225, 229, 231, 234,
    239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302, 303, 304, 305, 307,
    308, 309, 310, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 323, 325, 330, 334, 336, 337, 352, 360,
    361, 401, 402, 404, 405, 406, 407, 408, 409, 410, 412, 413, 414, 415, 417, 419, 423, 425, 432, 434, 440,
};
#define AREA_CODES (sizeof(area_codes) / sizeof(area_codes[0]))
/* Exchange codes run from 200 to 999 without those of the form N11; 555 is for fiction and left out. */
#define EXCHANGES (800 - 8 - 1)
#define LINES 10000

static const char *const first_names[] = {"Ada", "Grace", "Alan", "Edsger", "Barbara", "Ken", "Radia", "Leslie"};
static const char *const sources[] = {"facebook", "adwords", "tiktok", "taboola"};

uint64_t generate_phone_space(void)
{
    return (uint64_t)AREA_CODES * EXCHANGES * LINES;
}

/* The number of an exchange code, counted past those that do not exist. */
static int exchange_code(int index)
{
    for (int code = 200; code <= 999; code++) {
        if (code % 100 == 11 || code == 555) {
            continue;
        }
        if (index-- == 0) {
            return code;
        }
    }
    abort(); /* the index is within EXCHANGES */
}

/* 64 well mixed bits of `value` (the finalizer of splitmix64). */
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void generate_phone(const struct generator *generator, uint64_t sequence, char phone[GENERATE_PHONE_BYTES])
{
    static int exchanges[EXCHANGES];
    if (exchanges[0] == 0) {
        for (int i = 0; i < EXCHANGES; i++) {
            exchanges[i] = exchange_code(i);
        }
    }
    /* Multiplying by a prime that does not divide the space walks all of it before it repeats. */
    uint64_t space = generate_phone_space();
    uint64_t contact = generator->contacts > 0 ? sequence % generator->contacts : sequence;
    uint64_t index = ((contact % space) * 15485863u + mix(generator->seed) % space) % space;
    int area = area_codes[index % AREA_CODES];
    int exchange = exchanges[index / AREA_CODES % EXCHANGES];
    int line = (int)(index / AREA_CODES / EXCHANGES);
    snprintf(phone, GENERATE_PHONE_BYTES, "+1%03d%03d%04d", area, exchange, line);
}

size_t generate_event(const struct generator *generator, uint64_t sequence, char event[GENERATE_EVENT_BYTES])
{
    char phone[GENERATE_PHONE_BYTES], date[32];
    uint64_t bits = mix(generator->seed ^ mix(sequence));
    generate_phone(generator, sequence, phone);
    /* Signups of September 2025, one a second, so that no date is ever in the future. */
    time_t signed_up = 1756684800 + (time_t)(sequence % (UINT64_C(30) * 86400));
    struct tm parts;
    gmtime_r(&signed_up, &parts);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &parts);
    int length = snprintf(
        event, GENERATE_EVENT_BYTES,
        "{\"event_id\":\"gen-%ju-%ju\",\"phone_number\":\"%s\",\"list_number\":\"%s\",\"use_journeys\":%s,"
        "\"signup_date\":\"%s\",\"ip_address\":\"198.51.100.%u\",\"url\":\"https://offers.example.com/l/%u\","
        "\"custom_fields\":{\"first_name\":\"%s\",\"seq\":%ju},\"ad_network_source\":\"%s\","
        "\"ad_network_id\":\"cmp-%u\",\"consent\":{\"text\":\"I agree to receive recurring marketing texts.\","
        "\"text_version\":\"2025-09\"}}",
        (uintmax_t)generator->seed, (uintmax_t)sequence, phone,
        generator->lists[(bits >> 40) % (uint64_t)generator->list_count], bits % 4 == 0 ? "false" : "true", date,
        (unsigned)(bits >> 8 & 0xff), (unsigned)(bits >> 16 & 0xff), first_names[bits >> 24 & 7],
        (uintmax_t)sequence, sources[bits >> 28 & 3], (unsigned)(bits >> 32 & 0x3f));
    assert(length > 0 && length < GENERATE_EVENT_BYTES);
    return (size_t)length;
}
