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

static void phone_set(char word[PHONE_WORD_BYTES], const char *text)
{
    snprintf(word, PHONE_WORD_BYTES, "%s", text);
}

void phone_facts_set_line_type(struct phone_facts *facts, const char *line_type)
{
    static const struct {
        const char *v1;
        const char *v2;
    } known[] = {{"mobile", "CELL PHONE"}, {"fixed line", "LANDLINE"}, {"voip", "VOIP"}, {"other", "FAKE"}};
    phone_set(facts->line_type, line_type);
    phone_set(facts->line_type_v2, "UNKNOWN");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(known[i].v1, line_type))
            phone_set(facts->line_type_v2, known[i].v2);
}

void phone_facts_set_disposition(struct phone_facts *facts, const char *disposition)
{
    bool invalid = !strcmp(disposition, "invalid");
    bool unknown = !strcmp(disposition, "unknown");
    bool fixed = !strcmp(disposition, "unreachable");
    phone_set(facts->disposition, disposition);
    phone_facts_set_line_type(facts, invalid ? "other" : unknown ? "unknown" : fixed ? "fixed line" : "mobile");
    phone_set(facts->carrier, invalid || unknown ? "" : fixed ? "AT&T" : "Verizon Wireless");
    phone_set(facts->carrier_raw, facts->carrier);
    facts->valid = !invalid;
    facts->on_dnc = !strcmp(disposition, "risky");
}

static void phone_facts_set_voip(struct phone_facts *facts)
{
    phone_facts_set_line_type(facts, "voip");
    phone_set(facts->carrier, "Bandwidth.com");
    phone_set(facts->carrier_raw, facts->carrier);
}

struct phone_facts phone_look_up(uint64_t phone)
{
    static const char *const by_digits[] = {"ok", "unreachable", "unreachable", "risky",
                                            "invalid", "unknown", "ok", "unreachable"};
    struct phone_facts facts = {.state = "NY", .city = "New York"};
    unsigned digits = (unsigned)(phone % 10000);
    unsigned rule = digits > 9000 && digits < 9008 ? digits - 9000 : 0;
    phone_set(facts.country, phone_country(phone));
    phone_facts_set_disposition(&facts, by_digits[rule]);
    if (rule == 2 || rule == 7)
        phone_facts_set_voip(&facts);
    facts.provider_error = rule == 6;
    facts.not_sendable = rule == 7;
    return facts;
}
