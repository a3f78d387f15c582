/* Phone numbers as the simulated vendor reads them: E.164 as an integer, US spellings, what a lookup finds. */
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

#define PHONE_WORD_BYTES 48

/* What a lookup finds out about a number. The texts hold nothing that JSON would have to escape. */
struct phone_facts {
    char disposition[PHONE_WORD_BYTES];
    char line_type[PHONE_WORD_BYTES];    /* the words of v1 */
    char line_type_v2[PHONE_WORD_BYTES]; /* the words of GET /v2/contacts */
    char carrier[PHONE_WORD_BYTES];
    char carrier_raw[PHONE_WORD_BYTES];
    char country[PHONE_WORD_BYTES];
    char state[PHONE_WORD_BYTES];
    char city[PHONE_WORD_BYTES];
    bool valid;
    bool ported;
    bool on_dnc;
    bool provider_error; /* the lookup itself fails: 503 */
    bool not_sendable;   /* an upsert with use_validation is refused: 400 */
};

/* The rule: by the last four digits of the number (see --help). */
struct phone_facts phone_look_up(uint64_t phone);

/* What goes with a disposition where nothing else is said; that of "ok" for one that is not documented. */
void phone_facts_set_disposition(struct phone_facts *facts, const char *disposition);
/* The line type and what v2 calls it ("UNKNOWN" for one that is not documented). */
void phone_facts_set_line_type(struct phone_facts *facts, const char *line_type);

#endif
