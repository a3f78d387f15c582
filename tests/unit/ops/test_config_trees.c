/* The trees of the configuration, and money: what is taken, every complaint with its line and its path, what the environment may say, and that
 * what is printed reads back the same. */
#include "loading.h"

#include "signup/base/buf.h"

#define L "kafka: {topics: [leads, signups]}\n" /* the first line of a file with topics */
#define M L "mapping:\n  leads:\n    fields:\n"  /* the fields follow in line 5 */
#define P M "      phone_number: /p\n"           /* in line 6 */
#define R L "routes:\n"                          /* in line 3 */

static const struct {
    const char *yaml;
    const char *complaint; /* the beginning of a line */
} refused[] = {
    /* topics of outcomes */
    {"kafka:\n  outcomes_topic: signups\n", "c.yaml:2: kafka.outcomes_topic: is one of kafka.topics: outcomes would be read as signups; name another"},
    {"kafka:\n  outcomes_topic: signups.dlq\n", "c.yaml:2: kafka.outcomes_topic: is kafka.dead_letter_topic too; name another topic"},
    {"kafka:\n  outcomes_topic: a b\n", "c.yaml:2: kafka.outcomes_topic: \"a b\" is not a topic's name"},
    {"kafka:\n  outcomes_phone: perhaps\n", "c.yaml:2: kafka.outcomes_phone: \"perhaps\" is neither; write true or false"},
    /* money */
    {"validation:\n  daily_budget_usd: lots\n",
     "c.yaml:2: validation.daily_budget_usd: \"lots\" is no sum of money; write US dollars like 25 or 12.50, with up to six decimals, or \"\""},
    {"validation:\n  daily_budget_usd: -1\n", "c.yaml:2: validation.daily_budget_usd: \"-1\" is no sum"},
    {"validation:\n  daily_budget_usd: $25\n", "c.yaml:2: validation.daily_budget_usd: \"$25\" is no sum"},
    {"validation:\n  daily_budget_usd: 25 USD\n", "c.yaml:2: validation.daily_budget_usd: \"25 USD\" is no sum"},
    {"validation:\n  daily_budget_usd: 12,50\n", "c.yaml:2: validation.daily_budget_usd: \"12,50\" is no sum"},
    {"validation:\n  daily_budget_usd: 1e3\n", "c.yaml:2: validation.daily_budget_usd: \"1e3\" is no sum"},
    {"validation:\n  daily_budget_usd: 1.\n", "c.yaml:2: validation.daily_budget_usd: \"1.\" is no sum"},
    {"validation:\n  daily_budget_usd: .5\n", "c.yaml:2: validation.daily_budget_usd: \".5\" is no sum"},
    {"validation:\n  daily_budget_usd: 0.1234567\n", "c.yaml:2: validation.daily_budget_usd: \"0.1234567\" is no sum"},
    {"validation:\n  daily_budget_usd: 1.2.3\n", "c.yaml:2: validation.daily_budget_usd: \"1.2.3\" is no sum"},
    {"validation:\n  daily_budget_usd: 1000000.000001\n",
     "c.yaml:2: validation.daily_budget_usd: \"1000000.000001\" is too large; write 0 to 1000000"},
    {"validation:\n  daily_budget_usd: 99999999999999999999\n", "c.yaml:2: validation.daily_budget_usd: \"99999999999999999999\" is no sum"},
    {"validation:\n  daily_budget_usd: 9223372036855\n", "c.yaml:2: validation.daily_budget_usd: \"9223372036855\" is no sum"},
    {"validation:\n  daily_budget_usd:\n", "c.yaml:2: validation.daily_budget_usd: has no value; write US dollars, or leave the key out (\"\""},
    {"validation:\n  daily_budget_usd: [1]\n", "c.yaml:2: validation.daily_budget_usd: found a list; write one value"},
    {"validation:\n  on_budget_spent: park\n",
     "c.yaml:2: validation.on_budget_spent: \"park\" is not known; write park_until_tomorrow or without_validation"},
    {"validation:\n  remember: forever\n", "c.yaml:2: validation.remember: \"forever\" is not a duration"},
    {"validation:\n  remember: 3651d\n", "c.yaml:2: validation.remember: \"3651d\" is too large; write 0 to 3650d"},
    /* the gate */
    {"validation:\n  gate:\n    alow: [ok]\n", "c.yaml:3: validation.gate.alow: unknown key; did you mean validation.gate.allow?"},
    {"validation:\n  gate: [ok]\n", "c.yaml:2: validation.gate: found a list; write its keys below it"},
    {"validation:\n  gate: ok\n", "c.yaml:2: validation.gate: found one value; write its keys below it"},
    {"validation:\n  gate:\n    allow:\n      - ok\n      - riski\n", "c.yaml:5: validation.gate.allow: \"riski\" is no disposition; did you mean risky?"},
    {"validation:\n  gate:\n    allow: [good]\n",
     "c.yaml:3: validation.gate.allow: \"good\" is no disposition; there are ok, unreachable, risky, invalid and unknown"},
    {"validation:\n  gate:\n    allow: [ok, ok]\n", "c.yaml:3: validation.gate.allow: names ok twice; once is enough"},
    {"validation:\n  gate:\n    allow: []\n", "c.yaml:3: validation.gate.allow: lets no phone pass; write at least one, like [ok]"},
    {"validation:\n  gate:\n    allow: {ok: false, unknown: false}\n", "c.yaml:3: validation.gate.allow: lets no phone pass"},
    {"validation:\n  gate:\n    allow:\n      ok: true\n      risky: maybe\n", "c.yaml:5: validation.gate.allow.risky: \"maybe\" is neither; write true or"},
    {"validation:\n  gate:\n    allow: {fine: true}\n", "c.yaml:3: validation.gate.allow.fine: \"fine\" is no disposition; there are ok"},
    {"validation:\n  gate:\n    allow: [[ok]]\n", "c.yaml:3: validation.gate.allow: found a list; write a disposition, like ok"},
    {"validation:\n  gate:\n    allow:\n", "c.yaml:3: validation.gate.allow: has no value; write a list, or leave the key out"},
    {"validation:\n  gate:\n    allow: [ok]\n    allow: [risky]\n", "c.yaml:4: validation.gate.allow: is given twice, first in line 3"},
    {"validation:\n  gate:\n    allow: [ok]\n  gate.allow: [risky]\n", "c.yaml:4: validation.gate.allow: is given twice, first in line 3"},
    /* modes by list */
    {"validation:\n  lists:\n    \"+18005550100\": gates\n",
     "c.yaml:3: validation.lists.+18005550100: \"gates\" is not known; did you mean gate? There are off, inline or gate"},
    {"validation:\n  lists:\n    \"12\": gate\n", "c.yaml:3: validation.lists.12: the value is no full phone number; write it like \"+14155550100\""},
    {"validation:\n  lists:\n    \"+18005550100\": gate\n    (800) 555-0100: off\n",
     "c.yaml:4: validation.lists.(800) 555-0100: is the list +18005550100, which has its mode already; keep one of them"},
    {"validation:\n  lists:\n    \"+18005550100\": gate\n    \"+18005550100\": off\n", "c.yaml:4: validation.lists.+18005550100: is given twice, first in line 3"},
    {"validation:\n  lists: [a]\n", "c.yaml:2: validation.lists: found a list; write a map of name: value, or {}"},
    {"validation:\n  lists:\n    \"+18005550100\":\n", "c.yaml:3: validation.lists.+18005550100: found nothing; write off, inline or gate"},
    /* consent */
    {"consent:\n  require: [ip_adress]\n", "c.yaml:2: consent.require: \"ip_adress\" is not known; did you mean ip_address?"},
    {"consent:\n  require: [URL]\n", "c.yaml:2: consent.require: \"URL\" is not known; did you mean url?"},
    {"consent:\n  require:\n    - url\n    - phone_number\n", "c.yaml:4: consent.require: \"phone_number\" is no evidence of consent; write ip_address, url, "},
    {"consent:\n  require: [consent.text]\n", "c.yaml:2: consent.require: \"consent.text\": members of consent are named alone; write text"},
    {"consent:\n  require: [a b]\n", "c.yaml:2: consent.require: \"a b\" is no name; write a word of 1 to 64 bytes, like ip_address or text"},
    {"consent:\n  require: [\"\"]\n", "c.yaml:2: consent.require: \"\" is no name"},
    {"consent:\n  require: [url, url]\n", "c.yaml:2: consent.require: names url twice; once is enough"},
    {"consent:\n  require: {url: true}\n", "c.yaml:2: consent.require: found a map; write a list"},
    {"consent:\n  require: [{a: b}]\n", "c.yaml:2: consent.require: found a map; write plain text"},
    {"consent:\n  require:\n", "c.yaml:2: consent.require: has no value; write a list, or leave the key out ([] means none)"},
    {"consent:\n  require: *a\n", "c.yaml:2: "},
    {"consent:\n  on_missing: drop\n", "c.yaml:2: consent.on_missing: \"drop\" is not known; write dead or warn"},
    {"consent:\n  on_mising: warn\n", "c.yaml:2: consent.on_mising: unknown key; did you mean consent.on_missing?"},
    {"consent:\n  to_custom_fields: {text: [a]}\n", "c.yaml:2: consent.to_custom_fields.text: found a list; write the name of a custom field"},
    {"consent:\n  to_custom_fields: {text: \"\"}\n", "c.yaml:2: consent.to_custom_fields.text: is empty; write 1 to 255 bytes"},
    {"consent:\n  to_custom_fields: {phone: a}\n", "c.yaml:2: consent.to_custom_fields.phone: \"phone\" is no evidence of consent"},
    {"consent:\n  to_custom_fields:\n    text: a\n    url: a\n", "c.yaml:4: consent.to_custom_fields.url: fills the custom field a, which text fills already; name"},
    /* attribution */
    {"attribution:\n  click_ids: {\"a=b\": x}\n", "c.yaml:2: attribution.click_ids.a=b: \"a=b\" is no query parameter; write its name alone, like utm_source"},
    {"attribution:\n  click_ids: {gclid: \"\"}\n", "c.yaml:2: attribution.click_ids.gclid: is empty"},
    {"attribution:\n  click_ids:\n    gclid: a\n    GCLID: b\n", "c.yaml:4: attribution.click_ids.GCLID: is the same parameter as gclid; keep one of them"},
    {"attribution:\n  click_ids: [gclid]\n", "c.yaml:2: attribution.click_ids: found a list; write a map of name: value, or {}"},
    {"attribution:\n  source_parameters: [\"utm source\"]\n", "c.yaml:2: attribution.source_parameters: \"utm source\" is no query parameter"},
    {"attribution:\n  id_parameters: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]\n", "c.yaml:2: attribution.id_parameters: has 17 entries; 16 are taken"},
    {"attribution:\n  from_url: 2\n", "c.yaml:2: attribution.from_url: \"2\" is neither"},
    {"attribution:\n  clickids: {}\n", "c.yaml:2: attribution.clickids: unknown key; did you mean attribution.click_ids?"},
    {"limits:\n  custom_fields_overflow: cut\n", "c.yaml:2: limits.custom_fields_overflow: \"cut\" is not known; write dead or drop_largest"},
    /* mapping: topics */
    {"mapping:\n  leads: {profile: form}\n", "c.yaml:2: mapping.leads: \"leads\" is not one of kafka.topics (signups); write one of them, or add it there"},
    {"mapping: [leads]\n", "c.yaml:1: mapping: found a list; write the topics below it"},
    {"mapping: leads\n", "c.yaml:1: mapping: found one value; write the topics below it"},
    {L "mapping:\n  leads: json\n", "c.yaml:3: mapping.leads: found one value; write profile, fields and unmapped below it"},
    {L "mapping:\n  leads:\n    profil: json\n", "c.yaml:4: mapping.leads.profil: unknown key; did you mean profile?"},
    {L "mapping:\n  leads:\n    phone_number: /p\n", "c.yaml:4: mapping.leads.phone_number: unknown key; there are profile, fields and unmapped"},
    {L "mapping:\n  leads:\n    profile: cloudevent\n",
     "c.yaml:4: mapping.leads.profile: \"cloudevent\" is not known; did you mean cloudevents? There are api, json, cloudevents, "},
    {L "mapping:\n  leads:\n    profile: [json]\n", "c.yaml:4: mapping.leads.profile: found a list; write api, json, "},
    {L "mapping:\n  leads:\n    unmapped: keep\n", "c.yaml:4: mapping.leads.unmapped: \"keep\" is not known; write ignore or custom_fields"},
    {L "mapping:\n  leads:\n    profile: json\n", "c.yaml:3: mapping.leads: nothing says where the phone number is; write fields: {phone_number: …}"},
    {L "mapping:\n  leads:\n    fields: {url: /u}\n", "c.yaml:3: mapping.leads: nothing says where the phone number is"},
    {L "mapping:\n  leads: {profile: form}\n  leads: {profile: api}\n", "c.yaml:4: mapping.leads: is given twice, first in line 3; keep one of them"},
    {L "mapping:\n  ? [a]\n  : b\n", "c.yaml:3: mapping: has a key that is no short plain text"},
    {L "mapping:\n  leads: *a\n", "c.yaml:3: "},
    {L "mapping:\n  leads: &a {profile: form}\n", "c.yaml:3: anchor (&): is not supported"},
    /* mapping: fields */
    {L "mapping:\n  leads:\n    fields: [a]\n", "c.yaml:4: mapping.leads.fields: found a list; write our fields below it"},
    {M "      phon_number: /p\n", "c.yaml:5: mapping.leads.fields.phon_number: unknown field; did you mean phone_number?"},
    {M "      zip: /p\n", "c.yaml:5: mapping.leads.fields.zip: unknown field; there are event_id, phone_number, "},
    {M "      first_nick: /p\n", "c.yaml:5: mapping.leads.fields.first_nick: unknown field; there are event_id, phone_number, phone, list_number, "},
    {M "      contact.zip: /p\n", "c.yaml:5: mapping.leads.fields.contact.zip: unknown field; members are those of custom_fields, consent and attribution"},
    {M "      url.path: /p\n", "c.yaml:5: mapping.leads.fields.url.path: url has no members; write url alone"},
    {M "      custom_fields.: /p\n", "c.yaml:5: mapping.leads.fields.custom_fields.: is empty; write 1 to 255 bytes"},
    {M "      phone_number: /a\n      phone_number: /b\n", "c.yaml:6: mapping.leads.fields.phone_number: is given twice, first in line 5"},
    {M "      phone_number: phone\n",
     "c.yaml:5: mapping.leads.fields.phone_number: \"phone\" is no JSON pointer; write one like /contact/phone, or {constant: \"phone\"}"},
    {M "      phone_number: /a~2b\n", "c.yaml:5: mapping.leads.fields.phone_number: \"/a~2b\" is no JSON pointer: "},
    {M "      phone_number:\n", "c.yaml:5: mapping.leads.fields.phone_number: found nothing; write a pointer like /contact/phone, or a transform"},
    {M "      phone_number: [/a, /b]\n", "c.yaml:5: mapping.leads.fields.phone_number: found a list; write {first_of: […]} or {join: […]}"},
    {M "      phone_number: {}\n", "c.yaml:5: mapping.leads.fields.phone_number: says nothing; write a pointer"},
    {M "      phone_number: {firstof: [/a]}\n", "c.yaml:5: mapping.leads.fields.phone_number.firstof: unknown key; did you mean first_of?"},
    {M "      phone_number: {upper: /a}\n", "c.yaml:5: mapping.leads.fields.phone_number.upper: unknown key; there are constant, header, "},
    {M "      phone_number: {lowercase: /a, header: b}\n",
     "c.yaml:5: mapping.leads.fields.phone_number.header: stands beside lowercase; write one transform, and put the other into it"},
    {M "      phone_number: {lowercase: /a, with: b}\n", "c.yaml:5: mapping.leads.fields.phone_number.with: belongs to join; leave it out"},
    {M "      phone_number: {join: [/a], part: first}\n", "c.yaml:5: mapping.leads.fields.phone_number.part: belongs to split_name; leave it out"},
    {M "      phone_number: {with: b}\n", "c.yaml:5: mapping.leads.fields.phone_number: says nothing"},
    {M "      phone_number: {join: /a}\n", "c.yaml:5: mapping.leads.fields.phone_number.join: found one value; write a list, like [/form, /id]"},
    {M "      phone_number: {join: []}\n", "c.yaml:5: mapping.leads.fields.phone_number.join: has 0 parts; write 1 to 32"},
    {M "      phone_number:\n        join:\n          - /a\n          - b\n", "c.yaml:8: mapping.leads.fields.phone_number.join[2]: \"b\" is no JSON pointer"},
    {M "      phone_number: {join: [/a], with: [b]}\n", "c.yaml:5: mapping.leads.fields.phone_number.with: found a list; write the text that stands between"},
    {M "      phone_number: {join: [/a], with: \"\\n\"}\n", "c.yaml:5: mapping.leads.fields.phone_number.with: \"\\x0a\" has a line break"},
    {M "      phone_number: {header: \"\"}\n", "c.yaml:5: mapping.leads.fields.phone_number.header: is empty"},
    {M "      phone_number: {header: [a]}\n", "c.yaml:5: mapping.leads.fields.phone_number.header: found a list; write the name of a header"},
    {P "      custom_fields.a: {split_name: /n}\n",
     "c.yaml:6: mapping.leads.fields.custom_fields.a.split_name: does not say which part; write {split_name: …, part: first}, or part: last"},
    {P "      custom_fields.a: {split_name: /n, part: middle}\n", "c.yaml:6: mapping.leads.fields.custom_fields.a.part: \"middle\" is not known; write first or"},
    {P "      custom_fields: {city: /c}\n", "c.yaml:6: mapping.leads.fields.custom_fields.city: unknown key; there are constant"},
    {P "      custom_fields: {constant: a}\n", "c.yaml:6: mapping.leads.fields.custom_fields: is an object; point to one, or fill its members, like custom_fields.NAME"},
    {P "      consent: {first_of: [/a, {header: b}]}\n", "c.yaml:6: mapping.leads.fields.consent: is an object; point to one"},
    {P "      event_id: {constant: 1}\n", "c.yaml:6: mapping.leads.fields.event_id: is the same for every event; point to what tells them apart"},
    {P "      event_id: {join: [{constant: 1}, {constant: 2}]}\n", "c.yaml:6: mapping.leads.fields.event_id: is the same for every event"},
    {P "      list_number: {constant: 12}\n", "c.yaml:6: mapping.leads.fields.list_number.constant: the value is no full phone number"},
    {P "      list_number: {first_of: [/l, {constant: list}]}\n", "c.yaml:6: mapping.leads.fields.list_number.first_of[2].constant: the value is no full phone"},
    {P "      use_journeys: {constant: perhaps}\n", "c.yaml:6: mapping.leads.fields.use_journeys.constant: the field is a switch; write true or false"},
    {P "      custom_fields.a: {constant: [x]}\n", "c.yaml:6: mapping.leads.fields.custom_fields.a.constant: found a list; write one value"},
    {P "      custom_fields.a: {constant: }\n", "c.yaml:6: mapping.leads.fields.custom_fields.a.constant: found nothing; write one value"},
    {P "      custom_fields.a: {constant: 1e999}\n", "c.yaml:6: mapping.leads.fields.custom_fields.a.constant: the number is too large"},
    {P "      custom_fields.a: {constant: \"a\\0b\"}\n", "c.yaml:6: mapping.leads.fields.custom_fields.a.constant: the value has a NUL character"},
    {P "      url: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: /u}}}}}}}}\n",
     "c.yaml:6: mapping.leads.fields.url.lowercase.lowercase.lowercase.lowercase.lowercase.lowercase.lowercase.lowercase: nests deeper than 8"},
    {P "      url: [[[[[[[[[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]]]]]]]]]\n", "c.yaml:6: mapping.leads.fields.url[1][1]"},
    /* routes */
    {R "  list_number: x\n", "c.yaml:3: routes: found a map; write a list: each route behind a dash"},
    {R "  - california\n", "c.yaml:3: routes[1]: found one value; write its keys"},
    {R "  -\n", "c.yaml:3: routes[1]: found nothing; write its keys"},
    {R "  - when: {country: CA}\n    list_numbr: x\n", "c.yaml:4: routes[1].list_numbr: unknown key; did you mean list_number?"},
    {R "  - when: {country: CA}\n    colour: x\n", "c.yaml:4: routes[1].colour: unknown key; there are name, when, list_number, "},
    {R "  - when: {country: CA}\n    list_number: 12\n", "c.yaml:4: routes[1].list_number: the value is no full phone number"},
    {R "  - when: {country: CA}\n    list_number: [a]\n", "c.yaml:4: routes[1].list_number: found a list; write a phone number"},
    {R "  - when: {country: CA}\n    use_journeys: perhaps\n", "c.yaml:4: routes[1].use_journeys: \"perhaps\" is neither; write true or false"},
    {R "  - when: {country: CA}\n    skip_journey_if_exists: [a]\n", "c.yaml:4: routes[1].skip_journey_if_exists: found a list; write true or false"},
    {R "  - when: {country: CA}\n    override: 3\n", "c.yaml:4: routes[1].override: \"3\" is neither"},
    {R "  - when: {country: CA}\n    validation: before\n", "c.yaml:4: routes[1].validation: \"before\" is not known; write off, inline or gate"},
    {R "  - when: {country: CA}\n    custom_fields: [a]\n", "c.yaml:4: routes[1].custom_fields: found a list; write custom fields, like"},
    {R "  - when: {country: CA}\n    custom_fields: {a: {b: c}}\n", "c.yaml:4: routes[1].custom_fields.a: found a map; write one value: text, a number"},
    {R "  - when: {country: CA}\n    custom_fields: {\"\": c}\n", "c.yaml:4: routes[1].custom_fields.: is empty; write 1 to 255 bytes"},
    {R "  - when: {country: CA}\n    name: [a]\n", "c.yaml:4: routes[1].name: found a list; write a name"},
    {R "  - name: a\n    when: {country: CA}\n  - name: a\n    when: {country: US}\n", "c.yaml:5: routes[2]: has the name of another route; give it one of its own"},
    {R "  - list_number: \"+18005550100\"\n  - when: {country: CA}\n", "c.yaml:3: routes[1]: holds always, so no route behind it ever does; write its"},
    {R "  - when: CA\n", "c.yaml:3: routes[1].when: found one value; write conditions, like {country: CA}"},
    {R "  - when: {contry: CA}\n", "c.yaml:3: routes[1].when.contry: unknown key; did you mean country?"},
    {R "  - when: {list_number: CA}\n", "c.yaml:3: routes[1].when.list_number: unknown key; there are topic, url, ad_network_source and country"},
    {R "  - when: {country: []}\n", "c.yaml:3: routes[1].when.country: has 0 values; write 1 to 256, or leave the condition out"},
    {R "  - when: {country: XX}\n", "c.yaml:3: routes[1].when.country: \"XX\" is not a country; write two letters of ISO 3166, like US"},
    {R "  - when: {country: Canada}\n", "c.yaml:3: routes[1].when.country: \"Canada\" is not a country"},
    {R "  - when: {country: \"\"}\n", "c.yaml:3: routes[1].when.country: is empty"},
    {R "  - when: {country: {a: b}}\n", "c.yaml:3: routes[1].when.country: found a map; write a country, like CA"},
    {R "  - when: {country: false}\n", "c.yaml:3: routes[1].when.country: \"false\" is not a country; Norway is written \"NO\""},
    {R "  - when: {topic: lead}\n", "c.yaml:3: routes[1].when.topic: \"lead\" is not one of kafka.topics (leads, signups); did you mean leads?"},
    {R "  - when: {topic: other}\n", "c.yaml:3: routes[1].when.topic: \"other\" is not one of kafka.topics (leads, signups); write one of them"},
    {R "  - when:\n      country: CA\n  - when:\n      topic:\n        - leads\n        - lids\n",
     "c.yaml:8: routes[2].when.topic: \"lids\" is not one of kafka.topics (leads, signups)"},
    {R "  - when:\n      country: CA\n  - when:\n      url: \"a b\"\n", "c.yaml:6: routes[2].when.url: \"a b\" has a blank, which no address has; write %20"},
    {R "  - when: {url: \"a.com/?b=*\"}\n", "c.yaml:3: routes[1].when.url: \"a.com/?b=*\" has a query or a fragment, but host and path alone"},
    {R "  - when: {ad_network_source: [a, [b]]}\n", "c.yaml:3: routes[1].when.ad_network_source: found a list; write an ad network, like facebook"},
    {R "  - when: {country: CA}\n    when: {country: US}\n", "c.yaml:4: routes[1].when: is given twice, first in line 3"},
    {R "  - *a\n", "c.yaml:3: "},
    {R "  - {<<: {a: b}}\n", "c.yaml:3: <<: merging maps is not supported"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct config *config;
        int code = load_full(refused[i].yaml, strlen(refused[i].yaml), NULL, 0, &config);
        if (code != EX_CONFIG || !complained(refused[i].complaint))
            fail_msg("of\n%swanted %s\ngot %d\n%s", refused[i].yaml, refused[i].complaint, code, complaints);
    }
}

/* Mistakes in every tree are told in one go, each once, together with those of other keys. */
static void test_all_complaints_in_one_go(void **state)
{
    (void)state;
    static const char yaml[] = L "retry: {fuse: z}\n"
                                 "consent: {require: [ip_adress], to_custom_fields: {text: ''}}\n"
                                 "validation: {lists: {'12': gate}, gate: {allow: [good]}}\n"
                                 "mapping:\n"
                                 "  leads:\n"
                                 "    profile: jsn\n"
                                 "    fields: {phone_number: p, urk: /u}\n"
                                 "  lids: {unmapped: keep}\n"
                                 "routes:\n"
                                 "  - {when: {topic: lids, country: XX}, list_number: 1}\n"
                                 "  - {when: {url: ''}, validation: x}\n";
    static const char *const wanted[] = {
        "c.yaml:2: retry.fuse: ",
        "c.yaml:3: consent.require: ",
        "c.yaml:3: consent.to_custom_fields.text: ",
        "c.yaml:4: validation.lists.12: ",
        "c.yaml:4: validation.gate.allow: ",
        "c.yaml:7: mapping.leads.profile: ",
        "c.yaml:8: mapping.leads.fields.phone_number: ",
        "c.yaml:8: mapping.leads.fields.urk: ",
        "c.yaml:9: mapping.lids: ",
        "c.yaml:9: mapping.lids.unmapped: ",
        "c.yaml:11: routes[1].when.topic: ",
        "c.yaml:11: routes[1].when.country: ",
        "c.yaml:11: routes[1].list_number: ",
        "c.yaml:12: routes[2].when.url: ",
        "c.yaml:12: routes[2].validation: ",
    };
    struct config *config;
    assert_int_equal(load_full(yaml, sizeof yaml - 1, NULL, 0, &config), EX_CONFIG);
    size_t lines = 0;
    for (const char *c = complaints; *c; c++)
        lines += *c == '\n';
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!complained(wanted[i]))
            fail_msg("no %s in\n%s", wanted[i], complaints);
    assert_int_equal(lines, sizeof wanted / sizeof wanted[0]);
}

/* What another complaint may be the reason of is not complained of. */
static void test_no_complaints_that_follow(void **state)
{
    (void)state;
    static const char *const files[] = {
        "kafka:\n  topics: [a b, leads]\nmapping:\n  leads: {profile: form}\nroutes:\n  - {when: {topic: other}}\n",
        "defaults:\n  country: XX\nvalidation: {lists: {030901820: gate}}\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config *config;
        assert_int_equal(load_full(files[i], strlen(files[i]), NULL, 0, &config), EX_CONFIG);
        assert_ptr_equal(strchr(complaints, '\n'), complaints + strlen(complaints) - 1);
    }
}

/* ------------------------------------------------------------------ what is taken */

static void test_defaults(void **state)
{
    (void)state;
    static const char *const files[] = {"", "mapping:\nroutes:\nconsent:\nattribution:\nvalidation: {gate: }\n",
                                        "mapping: {}\nroutes: []\nconsent: {require: [], to_custom_fields: {}}\nvalidation: {lists: }\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config *config = load_good(files[i], NULL);
        assert_string_equal(config->kafka.outcomes_topic, "");
        assert_false(config->kafka.outcomes_phone);
        assert_int_equal(config->validation.gate_allow.count, 2);
        assert_true(slice_is(config->validation.gate_allow.items[0], "ok"));
        assert_true(slice_is(config->validation.gate_allow.items[1], "unknown"));
        assert_int_equal(config->validation.lists.count, 0);
        assert_int_equal(config->validation.remember_us, 90 * 24 * CONFIG_H);
        assert_int_equal(config->validation.daily_budget, CONFIG_MONEY_NONE);
        assert_int_equal(config->validation.on_budget_spent, CONFIG_ON_BUDGET_PARK_UNTIL_TOMORROW);
        assert_int_equal(config->consent.require.count, 0);
        assert_int_equal(config->consent.on_missing, CONFIG_ON_MISSING_DEAD);
        assert_true(config->attribution.from_url);
        assert_int_equal(config->attribution.click_ids.count, 9);
        assert_true(slice_is(config->attribution.click_ids.items[0].parameter, "gclid"));
        assert_true(slice_is(config->attribution.click_ids.items[0].source, "adwords"));
        assert_true(slice_is(config->attribution.click_ids.items[8].parameter, "ScCid"));
        assert_true(slice_is(config->attribution.click_ids.items[8].source, "snapchat"));
        assert_int_equal(config->attribution.source_parameters.count, 1);
        assert_int_equal(config->attribution.id_parameters.count, 2);
        assert_int_equal(config->mapping.shapes.count, 0);
        assert_int_equal(config->routes.table.count, 0);
        assert_int_equal(config->limits.custom_fields_overflow, CONFIG_OVERFLOW_DEAD);
        config_free(config);
    }
}

static void test_money(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t millionths;
        const char *printed;
    } cases[] = {{"25", 25000000, "25"},          {"12.50", 12500000, "12.5"},        {"0", 0, "0"},
                 {"0.003", 3000, "0.003"},        {"0.000001", 1, "0.000001"},        {"1000000", INT64_C(1000000000000), "1000000"},
                 {"0.1", 100000, "0.1"},          {"\"\"", CONFIG_MONEY_NONE, ""},    {"'7'", 7000000, "7"},
                 {"100", 100000000, "100"},       {"0.30", 300000, "0.3"},            {"10.000000", 10000000, "10"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char yaml[128];
        char text[CONFIG_MONEY_BYTES];
        (void)snprintf(yaml, sizeof yaml, "validation:\n  daily_budget_usd: %s\n", cases[i].text);
        struct config *config = load_good(yaml, NULL);
        assert_int_equal(config->validation.daily_budget, cases[i].millionths);
        config_money_text(config->validation.daily_budget, text);
        assert_string_equal(text, cases[i].printed);
        config_free(config);
    }
}

static void assert_passes(const char *yaml, const char *const *environment, const char *wanted)
{
    struct config *config = load_good(yaml, environment);
    char passes[64] = "";
    for (size_t i = 0; i < config->validation.gate_allow.count; i++)
        (void)snprintf(passes + strlen(passes), sizeof passes - strlen(passes), "%s ", config->validation.gate_allow.items[i].ptr);
    assert_string_equal(passes, wanted);
    config_free(config);
}

static void test_gate(void **state)
{
    (void)state;
    static const char *const listed[] = {"SIGNUP_VALIDATION_GATE_ALLOW=ok, risky", NULL};
    static const char *const mapped[] = {"SIGNUP_VALIDATION_GATE_ALLOW=risky=true,unknown=no", NULL};
    assert_passes("validation: {gate: {allow: [unknown, ok, risky]}}\n", NULL, "ok risky unknown ");
    assert_passes("validation: {gate: {allow: OK}}\n", NULL, "ok ");
    assert_passes("validation: {gate: {allow: \"ok, invalid\"}}\n", NULL, "ok invalid ");
    assert_passes("validation: {gate: {allow: {risky: true}}}\n", NULL, "ok risky unknown ");
    assert_passes("validation: {gate: {allow: {ok: true, risky: false, unknown: false}}}\n", NULL, "ok ");
    assert_passes("validation: {gate: {allow: {}}}\n", NULL, "ok unknown ");
    assert_passes("validation: {gate.allow: [ok]}\n", NULL, "ok ");
    assert_passes("validation: {gate: {allow: [invalid]}}\n", listed, "ok risky ");
    assert_passes("validation: {gate: {allow: [invalid]}}\n", mapped, "ok risky ");
}

static void test_shorter_trees(void **state)
{
    (void)state;
    struct config *config = load_good("defaults: {country: US}\n"
                                      "kafka: {outcomes_topic: signups.outcomes, outcomes_phone: yes}\n"
                                      "validation:\n"
                                      "  lists: {(800) 555-0100: gate, +18005550101: no}\n"
                                      "  on_budget_spent: without_validation\n"
                                      "consent:\n"
                                      "  require: [ip_address, signup_date, text, user_agent, texts]\n"
                                      "  on_missing: warn\n"
                                      "  to_custom_fields: {text_version: consent version, url: page}\n"
                                      "attribution: {from_url: false, click_ids: {b: x, a: x}, source_parameters: src, id_parameters: []}\n"
                                      "limits: {custom_fields_overflow: drop_largest}\n",
                                      NULL);
    assert_string_equal(config->kafka.outcomes_topic, "signups.outcomes");
    assert_true(config->kafka.outcomes_phone);
    assert_int_equal(config->validation.lists.count, 2);
    assert_true(slice_is(config->validation.lists.items[0].list_number, "+18005550100"));
    assert_int_equal(config->validation.lists.items[0].validation, EVENT_VALIDATION_GATE);
    assert_true(slice_is(config->validation.lists.items[1].list_number, "+18005550101"));
    assert_int_equal(config->validation.lists.items[1].validation, EVENT_VALIDATION_OFF);
    assert_int_equal(config->validation.on_budget_spent, CONFIG_ON_BUDGET_WITHOUT_VALIDATION);
    assert_int_equal(config->consent.require.count, 5);
    assert_true(slice_is(config->consent.require.items[3], "user_agent"));
    assert_int_equal(config->consent.on_missing, CONFIG_ON_MISSING_WARN);
    assert_int_equal(config->consent.to_custom_fields.count, 2);
    assert_true(slice_is(config->consent.to_custom_fields.items[0].parameter, "text_version"));
    assert_true(slice_is(config->consent.to_custom_fields.items[0].source, "consent version"));
    assert_false(config->attribution.from_url);
    assert_int_equal(config->attribution.click_ids.count, 2);
    assert_true(slice_is(config->attribution.click_ids.items[0].parameter, "b"));
    assert_true(slice_is(config->attribution.source_parameters.items[0], "src"));
    assert_int_equal(config->attribution.id_parameters.count, 0);
    assert_int_equal(config->limits.custom_fields_overflow, CONFIG_OVERFLOW_DROP_LARGEST);
    config_free(config);
}

static const char whole[] = L "mapping:\n"
                              "  leads:\n"
                              "    fields:\n"
                              "      phone_number: /contact/phone\n"
                              "      list_number: {constant: 800 555 0100}\n"
                              "      event_id: {join: [/form, /id], with: '-'}\n"
                              "      ad_network_source: {lowercase: {first_of: [/utm/source, /src]}}\n"
                              "      custom_fields.first_name: {part: first, split_name: /name}\n"
                              "      custom_fields.last_name: {split_name: /name, part: last}\n"
                              "      custom_fields.a.b: {constant: true}\n"
                              "      custom_fields.zip: {constant: 00701}\n"
                              "      custom_fields.n: {constant: -12}\n"
                              "      custom_fields.r: {constant: 1.50}\n"
                              "      custom_fields.q: {constant: '12'}\n"
                              "      custom_fields.big: {constant: 123456789012345678901}\n"
                              "      consent: /a~1b/~0c\n"
                              "      attribution.gclid: {header: x-gclid}\n"
                              "      use_journeys: {constant: yes}\n"
                              "    unmapped: custom_fields\n"
                              "  signups: {profile: cloudevents}\n"
                              "routes:\n"
                              "  - when: {topic: leads, url: ['*.example.com/ca/*', 'https://x/y'], ad_network_source: [facebook, TikTok], country: [ca, US]}\n"
                              "    name: california\n"
                              "    list_number: (800) 555-0101\n"
                              "    use_journeys: false\n"
                              "    skip_journey_if_exists: on\n"
                              "    validation: gate\n"
                              "    custom_fields: {campaign: winter, wave: 3, share: 0.5, paid: true, \"\\u00e9 \\\"x\\\"\": 'no \\ \\x'}\n"
                              "    override: true\n"
                              "  - {when: {country: MX}}\n"
                              "  - {validation: off}\n";

static const struct event_expression *expression_of(const struct event_topic *topic, enum event_field field, const char *member)
{
    for (size_t i = 0; i < topic->assignment_count; i++) {
        const struct event_assignment *item = &topic->assignments[i];
        if (item->field == field && (member ? slice_is(item->member, member) : !slice_present(item->member)))
            return &item->expression;
    }
    fail_msg("nothing fills %s.%s", event_field_str(field), member ? member : "");
    return NULL;
}

static void test_mapping(void **state)
{
    (void)state;
    struct config *config = load_good(whole, NULL);
    assert_int_equal(config->mapping.shapes.count, 2);
    const struct event_topic *topic = &config->mapping.shapes.items[0];
    assert_true(slice_is(topic->topic, "leads"));
    assert_int_equal(topic->profile, EVENT_PROFILE_JSON); /* fields are given, no profile is */
    assert_int_equal(topic->unmapped, EVENT_UNMAPPED_CUSTOM_FIELDS);
    assert_int_equal(topic->assignment_count, 15);
    const struct event_expression *e = expression_of(topic, EVENT_PHONE_NUMBER, NULL);
    assert_int_equal(e->operation, EVENT_POINTER);
    assert_true(slice_is(e->pointer.text, "/contact/phone"));
    assert_int_equal(e->pointer.count, 2);
    assert_true(slice_is(e->pointer.tokens[1], "phone"));
    e = expression_of(topic, EVENT_LIST_NUMBER, NULL);
    assert_int_equal(e->operation, EVENT_CONSTANT);
    assert_true(slice_is(e->constant.text, "+18005550100"));
    e = expression_of(topic, EVENT_EVENT_ID, NULL);
    assert_int_equal(e->operation, EVENT_JOIN);
    assert_int_equal(e->part_count, 2);
    assert_true(slice_is(e->text, "-"));
    assert_true(slice_is(e->parts[1].pointer.text, "/id"));
    e = expression_of(topic, EVENT_AD_NETWORK_SOURCE, NULL);
    assert_int_equal(e->operation, EVENT_LOWERCASE);
    assert_int_equal(e->part_count, 1);
    assert_int_equal(e->parts[0].operation, EVENT_FIRST_OF);
    assert_int_equal(e->parts[0].part_count, 2);
    assert_int_equal(expression_of(topic, EVENT_CUSTOM_FIELDS, "first_name")->operation, EVENT_FIRST_NAME);
    e = expression_of(topic, EVENT_CUSTOM_FIELDS, "last_name");
    assert_int_equal(e->operation, EVENT_LAST_NAME);
    assert_true(slice_is(e->parts[0].pointer.text, "/name"));
    e = expression_of(topic, EVENT_ATTRIBUTION, "gclid");
    assert_int_equal(e->operation, EVENT_HEADER);
    assert_true(slice_is(e->text, "x-gclid"));
    e = expression_of(topic, EVENT_CONSENT, NULL);
    assert_int_equal(e->pointer.count, 2);
    topic = &config->mapping.shapes.items[1];
    assert_int_equal(topic->profile, EVENT_PROFILE_CLOUDEVENTS);
    assert_int_equal(topic->assignment_count, 0);
    assert_int_equal(topic->unmapped, EVENT_UNMAPPED_IGNORE);
    config_free(config);
}

static void test_constants(void **state)
{
    (void)state;
    struct config *config = load_good(whole, NULL);
    const struct event_topic *topic = &config->mapping.shapes.items[0];
    const struct event_constant *c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "a.b")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_BOOLEAN);
    assert_true(c->boolean);
    c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "zip")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_TEXT);
    assert_true(slice_is(c->text, "00701"));
    c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "n")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_INTEGER);
    assert_int_equal(c->integer, -12);
    c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "r")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_REAL);
    assert_true(c->real == 1.5);
    c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "q")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_TEXT);
    c = &expression_of(topic, EVENT_CUSTOM_FIELDS, "big")->constant;
    assert_int_equal(c->kind, EVENT_CONSTANT_TEXT);
    assert_true(slice_is(c->text, "123456789012345678901"));
    assert_int_equal(expression_of(topic, EVENT_USE_JOURNEYS, NULL)->constant.kind, EVENT_CONSTANT_TEXT);
    config_free(config);
}

static void test_routes(void **state)
{
    (void)state;
    struct config *config = load_good(whole, NULL);
    assert_int_equal(config->routes.table.count, 3);
    const struct event_route *route = &config->routes.table.items[0];
    assert_true(slice_is(route->name, "california"));
    assert_int_equal(route->topic_count, 1);
    assert_true(slice_is(route->topics[0], "leads"));
    assert_int_equal(route->url_count, 2);
    assert_true(slice_is(route->urls[0], "*.example.com/ca/*"));
    assert_int_equal(route->ad_network_source_count, 2);
    assert_int_equal(route->country_count, 2);
    assert_true(slice_is(route->countries[0], "CA"));
    assert_true(slice_is(route->list_number, "+18005550101"));
    assert_int_equal(route->use_journeys, EVENT_FLAG_FALSE);
    assert_int_equal(route->skip_journey_if_exists, EVENT_FLAG_TRUE);
    assert_int_equal(route->validation, EVENT_VALIDATION_GATE);
    assert_true(route->override);
    assert_int_equal(route->custom_field_count, 5);
    assert_int_equal(route->custom_fields[1].value.kind, EVENT_CONSTANT_INTEGER);
    assert_int_equal(route->custom_fields[2].value.kind, EVENT_CONSTANT_REAL);
    assert_int_equal(route->custom_fields[3].value.kind, EVENT_CONSTANT_BOOLEAN);
    route = &config->routes.table.items[1];
    assert_true(slice_is(route->name, "route 2"));
    assert_false(slice_present(route->list_number));
    assert_int_equal(route->use_journeys, EVENT_FLAG_UNSET);
    assert_int_equal(route->skip_journey_if_exists, EVENT_FLAG_UNSET);
    assert_int_equal(route->validation, EVENT_VALIDATION_UNSET);
    assert_false(route->override);
    route = &config->routes.table.items[2];
    assert_true(slice_is(route->name, "route 3"));
    assert_int_equal(route->validation, EVENT_VALIDATION_OFF);
    assert_int_equal(route->country_count, 0);
    config_free(config);
}

static void test_accepted_spellings(void **state)
{
    (void)state;
    static const char *const good[] = {
        L "mapping:\n  leads:\n",
        L "mapping: {leads: {profile: API, unmapped: Custom_Fields}}\n",
        L "mapping: {leads: {profile: api, fields: {url: /u}}}\n",
        L "mapping: {leads: {fields: {phone: /p}}}\n",
        L "mapping: {leads: {profile: meta_lead_ads, fields: }}\n",
        M "      phone_number: {first_of: [/a, {join: [/b, /c]}]}\n",
        P "      custom_fields: \"\"\n",
        P "      custom_fields: {first_of: [/a, /b]}\n",
        P "      custom_fields.join: {join: [/a], with: \"\"}\n",
        P "      list_number: {join: [{constant: '+1'}, /n]}\n",
        P "      event_id: {join: [{constant: lp}, {header: id}]}\n",
        P "      force: {constant: 0}\n",
        P "      url: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: {lowercase: /u}}}}}}}\n",
        P "      signup_date: /~01/a%20b//\n",
        R "  - {when: {url: '*'}, custom_fields: {a: '', b: ~x}}\n",
        R "  - {when: }\n",
        R "  - {list_number: +18005550100}\n",
        "consent: {require: \"url, text\"}\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        config_free(load_good(good[i], NULL));
}

/* ------------------------------------------------------------------ bounds */

static struct config *load_repeated(const char *start, const char *part, int count, const char *end, int *code)
{
    struct config *config;
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_append_str(&yaml, start);
    for (int i = 0; i < count; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", i);
        for (const char *c = part; *c; c++)
            if (*c == '#')
                buf_append_str(&yaml, number);
            else
                buf_append_char(&yaml, *c);
    }
    buf_append_str(&yaml, end);
    assert_true(buf_ok(&yaml));
    *code = load_full(yaml.data, yaml.len, NULL, 0, &config);
    buf_fini(&yaml);
    return config;
}

static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        const char *part;
        const char *end;
        int most;
        const char *complaint;
    } cases[] = {
        {R, "  - {when: {country: CA}}\n", "", 1000, "c.yaml:3: routes: has 1001 routes; 1000 are taken"},
        {P, "      custom_fields.f#: /a\n", "", 255, "c.yaml:5: mapping.leads.fields: has 257 fields; 256 are taken"},
        {M "      phone_number: {join: [", "/a,", "]}\n", 32, "c.yaml:5: mapping.leads.fields.phone_number.join: has 33 parts; write 1 to 32"},
        {R "  - {when: {country: CA}, custom_fields: {", "f#: 1,", "}}\n", 64, "c.yaml:3: routes[1].custom_fields: has 65 custom fields; 64 are taken"},
        {R "  - {when: {url: [", "a#,", "]}}\n", 256, "c.yaml:3: routes[1].when.url: has 257 values; write 1 to 256"},
        {"consent: {require: [", "a#,", "]}\n", 32, "c.yaml:1: consent.require: has 33 entries; 32 are taken"},
        {"attribution: {click_ids: {", "a#: b,", "}}\n", 64, "c.yaml:1: attribution.click_ids: has 65 entries; 64 are taken"},
        {M "      phone_number: ", "/a", "\n", 64, "c.yaml:5: mapping.leads.fields.phone_number: \"/a/a"},
        {P "      custom_fields.", "a", ": /a\n", 255, "c.yaml:6: mapping.leads.fields.custom_fields.aaaa"},
        {P "      custom_fields.a: {constant: ", "a", "}\n", 1000, "c.yaml:6: mapping.leads.fields.custom_fields.a.constant: \"aaaa"},
        {P "      custom_fields.a: {header: ", "a", "}\n", 249, "c.yaml:6: mapping.leads.fields.custom_fields.a.header: \"aaaa"},
        {R "  - {when: {country: CA}, name: ", "a", "}\n", 128, "c.yaml:3: routes[1].name: \"aaaa"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int code;
        struct config *config = load_repeated(cases[i].start, cases[i].part, cases[i].most, cases[i].end, &code);
        if (code)
            fail_msg("%zu: %s", i, complaints);
        config_free(config);
        config = load_repeated(cases[i].start, cases[i].part, cases[i].most + 1, cases[i].end, &code);
        if (code != EX_CONFIG || !complained(cases[i].complaint))
            fail_msg("wanted %s\ngot %d\n%s", cases[i].complaint, code, complaints);
    }
}

/* Too many entries for any tree, and too many expressions: one complaint, and no memory for them all. */
static void test_floods(void **state)
{
    (void)state;
    int code;
    (void)load_repeated("consent: {require: [", "a#,", 20000, "]}\n", &code);
    assert_int_equal(code, EX_CONFIG);
    assert_true(complained("c.yaml:1: consent.require: has more than 1024 entries; write fewer"));
    (void)load_repeated("attribution: {click_ids: {", "a#: b,", 20000, "}}\n", &code);
    assert_true(complained("c.yaml:1: attribution.click_ids: has more than 1024 entries; write fewer"));
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_append_str(&yaml, M "      phone_number: /p\n");
    for (int i = 0; i < 255; i++)
        buf_printf(&yaml,
                   "      custom_fields.f%d: {join: [{join: [/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a]},"
                   "{join: [/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a]},"
                   "{join: [/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a,/a]}]}\n",
                   i);
    assert_true(buf_ok(&yaml));
    struct config *config;
    assert_int_equal(load_full(yaml.data, yaml.len, NULL, 0, &config), EX_CONFIG);
    assert_non_null(strstr(complaints, "the mapping has more than 16384 parts in all; write fewer\n"));
    assert_ptr_equal(strchr(complaints, '\n'), complaints + strlen(complaints) - 1);
    buf_fini(&yaml);
}

/* ------------------------------------------------------------------ environment */

static void test_environment(void **state)
{
    (void)state;
    static const char *const environment[] = {"SIGNUP_VALIDATION_LISTS=+18005550101=gate, 8005550100=inline,+18005550102=off",
                                              "SIGNUP_VALIDATION_DAILY_BUDGET_USD=7.25",
                                              "SIGNUP_CONSENT_REQUIRE=url,text",
                                              "SIGNUP_CONSENT_TO_CUSTOM_FIELDS=url=page,text=consent",
                                              "SIGNUP_ATTRIBUTION_CLICK_IDS=x=y",
                                              "SIGNUP_ATTRIBUTION_SOURCE_PARAMETERS=",
                                              "SIGNUP_KAFKA_OUTCOMES_TOPIC=told",
                                              "SIGNUP_LIMITS_CUSTOM_FIELDS_OVERFLOW=drop_largest",
                                              "SIGNUP_CONSENT_ON_MISSING=warn",
                                              "SIGNUP_KAFKA_TOPICS=leads",
                                              NULL};
    struct config *config = load_good("kafka: {topics: [other]}\n"
                                      "validation: {lists: {\"+18005550101\": off, \"+18005550103\": gate}}\n"
                                      "consent: {require: [ip_address], to_custom_fields: {text: a, user_agent: b}}\n"
                                      "attribution: {click_ids: {a: b}}\n"
                                      "mapping: {leads: {profile: form}}\n",
                                      environment);
    assert_int_equal(config->validation.lists.count, 4);
    assert_true(slice_is(config->validation.lists.items[0].list_number, "+18005550101"));
    assert_int_equal(config->validation.lists.items[0].validation, EVENT_VALIDATION_GATE);
    assert_true(slice_is(config->validation.lists.items[2].list_number, "+18005550100"));
    assert_int_equal(config->validation.daily_budget, 7250000);
    assert_int_equal(config->consent.require.count, 2);
    assert_int_equal(config->consent.to_custom_fields.count, 3);
    assert_true(slice_is(config->consent.to_custom_fields.items[0].source, "consent"));
    assert_int_equal(config->attribution.click_ids.count, 1);
    assert_true(slice_is(config->attribution.click_ids.items[0].parameter, "x"));
    assert_int_equal(config->attribution.source_parameters.count, 0);
    assert_string_equal(config->kafka.outcomes_topic, "told");
    assert_int_equal(config->limits.custom_fields_overflow, CONFIG_OVERFLOW_DROP_LARGEST);
    assert_int_equal(config->mapping.shapes.count, 1); /* its topic came from the environment */
    config_free(config);
}

static void test_environment_refused(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        const char *complaint;
    } cases[] = {
        {"SIGNUP_MAPPING=leads", "SIGNUP_MAPPING: mapping cannot come from the environment; write it into the file"},
        {"SIGNUP_ROUTES=", "SIGNUP_ROUTES: routes cannot come from the environment; write it into the file"},
        {"SIGNUP_VALIDATION_GATE_ALLOW=", "SIGNUP_VALIDATION_GATE_ALLOW: lets no phone pass"},
        {"SIGNUP_VALIDATION_GATE_ALLOW=ok,riski", "SIGNUP_VALIDATION_GATE_ALLOW: \"riski\" is no disposition; did you mean risky?"},
        {"SIGNUP_VALIDATION_GATE_ALOW=ok", "SIGNUP_VALIDATION_GATE_ALOW: unknown variable; did you mean SIGNUP_VALIDATION_GATE_ALLOW?"},
        {"SIGNUP_VALIDATION_LISTS=+18005550100", "SIGNUP_VALIDATION_LISTS: an entry is not name=value; write name=value,name=value"},
        {"SIGNUP_VALIDATION_LISTS=12=gate", "SIGNUP_VALIDATION_LISTS: 12: the value is no full phone number"},
        {"SIGNUP_VALIDATION_LISTS=+18005550100=x", "SIGNUP_VALIDATION_LISTS: +18005550100: \"x\" is not known"},
        {"SIGNUP_VALIDATION_DAILY_BUDGET_USD=x", "SIGNUP_VALIDATION_DAILY_BUDGET_USD: \"x\" is no sum of money"},
        {"SIGNUP_CONSENT_REQUIRE=url,,text", "SIGNUP_CONSENT_REQUIRE: \"\" is no name"},
        {"SIGNUP_CONSENT_REQUIRE=phone", "SIGNUP_CONSENT_REQUIRE: \"phone\" is no evidence of consent"},
        {"SIGNUP_ATTRIBUTION_CLICK_IDS=a=", "SIGNUP_ATTRIBUTION_CLICK_IDS: a: is empty"},
        {"SIGNUP_KAFKA_OUTCOMES_TOPIC=signups", "SIGNUP_KAFKA_OUTCOMES_TOPIC: is one of kafka.topics"},
        {"SIGNUP_MAPPING_LEADS_PROFILE=x", "SIGNUP_MAPPING_LEADS_PROFILE: unknown variable"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const environment[] = {cases[i].entry, NULL};
        struct config *config;
        int code = load_full(NULL, 0, environment, 0, &config);
        if (code != EX_CONFIG || !complained(cases[i].complaint))
            fail_msg("of %s wanted %s\ngot %d\n%s", cases[i].entry, cases[i].complaint, code, complaints);
    }
}

/* ------------------------------------------------------------------ what is written */

static void test_print_reads_back(void **state)
{
    (void)state;
    static const char more[] = "kafka: {topics: [leads, signups, \"y\"], outcomes_topic: told}\n"
                               "validation: {gate: {allow: [risky]}, lists: {\"+18005550100\": off}, daily_budget_usd: 0.003}\n"
                               "consent: {require: [url, \"a\\u0085\\u2028\\ufeff\"], to_custom_fields: {text: \"x: {y}, #z\"}}\n"
                               "attribution: {click_ids: {\"[a]\": 'b\"c'}, source_parameters: [], id_parameters: [\"yes\"]}\n"
                               "mapping: {y: {profile: form}}\n";
    static const char *const files[] = {whole, more};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config *config = load_good(files[i], NULL);
        char *first = printed(config);
        config_free(config);
        config = load_good(first, NULL);
        char *second = printed(config);
        assert_string_equal(first, second);
        config_free(config);
        free(first);
        free(second);
    }
}

/* One block of lines that all begin with # is an example: each # gives way to a blank, and the key above it loses its {} or []. */
static char *uncomment(const char *text)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        const char *next = end + 1;
        size_t len = (size_t)(end - line);
        const char *mark = line + strspn(line, " ");
        bool example = mark[0] == '#' && mark[1] == ' ' && mark[2] == ' ';
        const char *below = next + strspn(next, " ");
        const char *value = memmem(line, len, ": {}", 4);
        value = value ? value : memmem(line, len, ": []", 4);
        if (!example && value && below[0] == '#' && below[1] == ' ' && below[2] == ' ')
            len = (size_t)(value + 1 - line);
        for (size_t i = 0; i < len; i++)
            buf_append_char(&out, example && line + i == mark ? ' ' : line[i]);
        buf_append_char(&out, '\n');
        line = next;
    }
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    return out.data;
}

/* What stands in the example as comments is good too. */
static void test_commented_examples(void **state)
{
    (void)state;
    static const char *const environment[] = {"SIGNUP_KAFKA_TOPICS=signups,leads", NULL};
    char *example = file_text(SIGNUP_SOURCE_DIR "/deploy/signup-worker.yaml");
    char *text = uncomment(example);
    struct config *config = load_good(text, environment);
    assert_int_equal(config->mapping.shapes.count, 1);
    assert_int_equal(config->mapping.shapes.items[0].assignment_count, 8);
    assert_int_equal(config->routes.table.count, 1);
    assert_int_equal(config->consent.require.count, 3);
    assert_int_equal(config->validation.lists.count, 1);
    assert_int_equal(config->consent.to_custom_fields.count, 1);
    config_free(config);
    free(example);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_all_complaints_in_one_go),
        cmocka_unit_test(test_no_complaints_that_follow),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_money),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_shorter_trees),
        cmocka_unit_test(test_mapping),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_accepted_spellings),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_environment_refused),
        cmocka_unit_test(test_print_reads_back),
        cmocka_unit_test(test_commented_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
