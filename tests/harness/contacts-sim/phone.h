/* Phone numbers as the simulated vendor reads them: E.164 as an integer, US spellings, dispositions. */
#ifndef SIGNUP_CONTACTS_SIM_PHONE_H
#define SIGNUP_CONTACTS_SIM_PHONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PHONE_TEXT_BYTES 24

/* A number in E.164 without its plus; 0 is no number. Strict: `+`, first digit not 0, 7 to 15 digits, and
 * exactly ten after +1. Only the length is judged, as the vendor accepts new area codes. */
bool phone_parse_e164(const char *text, size_t len, uint64_t *phone);

/* The same, and also the US spellings that the vendor documents: 4155551234, (415) 555-1234,
 * 415-555-1234, +1 415 555 1234, 14155551234. */
bool phone_parse_loose(const char *text, size_t len, uint64_t *phone);

void phone_format(uint64_t phone, char text[PHONE_TEXT_BYTES]);

enum phone_disposition {
    PHONE_OK,
    PHONE_UNREACHABLE,
    PHONE_RISKY,
    PHONE_INVALID,
    PHONE_UNKNOWN,
};
const char *phone_disposition_str(enum phone_disposition disposition);

/* What a lookup finds out about a number; decided by its last four digits (see --help). */
struct phone_facts {
    enum phone_disposition disposition;
    bool valid;
    bool on_dnc;
    bool provider_error; /* the lookup itself fails: 503 */
    bool not_sendable;   /* an upsert with use_validation is refused: 400 */
    const char *line_type;    /* the words of v1 */
    const char *line_type_v2; /* the words of GET /v2/contacts */
    const char *carrier;
    const char *country;
};
struct phone_facts phone_look_up(uint64_t phone);

#endif
