/* Phone numbers as the simulated vendor reads them: E.164 as an integer, US spellings, dispositions. */
#include "phone.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

bool phone_parse_e164(const char *text, size_t len, uint64_t *phone)
{
    if (len < 8 || len > 16 || text[0] != '+' || text[1] == '0')
        return false;
    uint64_t value = 0;
    for (size_t i = 1; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (text[1] == '1' && len != 12)
        return false;
    *phone = value;
    return true;
}

bool phone_parse_loose(const char *text, size_t len, uint64_t *phone)
{
    if (phone_parse_e164(text, len, phone))
        return true;
    char plain[16] = "+1";
    size_t digits = 2;
    for (size_t i = 0; i < len; i++) {
        if ((text[i] && strchr(" ()-.", text[i])) || (text[i] == '+' && i == 0))
            continue;
        if (text[i] < '0' || text[i] > '9' || digits == sizeof plain)
            return false;
        plain[digits++] = text[i];
    }
    if (digits == 13 && plain[2] == '1') { /* the country code was written: leave ours out */
        plain[1] = '+';
        return phone_parse_e164(plain + 1, 12, phone);
    }
    return digits == 12 && text[0] != '+' && phone_parse_e164(plain, digits, phone);
}

void phone_format(uint64_t phone, char text[PHONE_TEXT_BYTES])
{
    int len = snprintf(text, PHONE_TEXT_BYTES, "+%llu", (unsigned long long)phone);
    assert(len > 0 && len < PHONE_TEXT_BYTES);
}

const char *phone_disposition_str(enum phone_disposition disposition)
{
    static const char *const names[] = {"ok", "unreachable", "risky", "invalid", "unknown"};
    assert((size_t)disposition < sizeof names / sizeof names[0]);
    return names[disposition];
}

static const char *phone_country(uint64_t phone)
{
    char text[PHONE_TEXT_BYTES];
    phone_format(phone, text);
    if (text[1] == '1')
        return "US";
    static const struct {
        const char *prefix;
        const char *country;
    } known[] = {{"+44", "GB"}, {"+49", "DE"}, {"+52", "MX"}, {"+33", "FR"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strncmp(text, known[i].prefix, 3))
            return known[i].country;
    return "XX";
}

struct phone_facts phone_look_up(uint64_t phone)
{
    struct phone_facts facts = {
        .disposition = PHONE_OK, .valid = true, .line_type = "mobile", .line_type_v2 = "CELL PHONE",
        .carrier = "Verizon Wireless", .country = phone_country(phone),
    };
    switch (phone % 10000) {
    case 9001:
        facts.disposition = PHONE_UNREACHABLE;
        facts.line_type = "fixed line";
        facts.line_type_v2 = "LANDLINE";
        facts.carrier = "AT&T";
        break;
    case 9007:
        facts.not_sendable = true;
        /* fall through */
    case 9002:
        facts.disposition = PHONE_UNREACHABLE;
        facts.line_type = "voip";
        facts.line_type_v2 = "VOIP";
        facts.carrier = "Bandwidth.com";
        break;
    case 9003:
        facts.disposition = PHONE_RISKY;
        facts.on_dnc = true;
        break;
    case 9004:
        facts.disposition = PHONE_INVALID;
        facts.valid = false;
        facts.line_type = "other";
        facts.line_type_v2 = "FAKE";
        facts.carrier = "";
        break;
    case 9005:
        facts.disposition = PHONE_UNKNOWN;
        facts.line_type = "unknown";
        facts.line_type_v2 = "UNKNOWN";
        facts.carrier = "";
        break;
    case 9006:
        facts.provider_error = true;
        break;
    default:
        break;
    }
    return facts;
}
