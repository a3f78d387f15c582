/* Phone numbers to E.164: the one C++ file, a shim on libphonenumber with exact shapes in front of it.
 *
 * What calls the library is noexcept: the library throws only for want of memory, and then the process
 * must end rather than call somebody's number invalid. */
#include "phone_library.h"
#include "phone_text.h"

extern "C" {
#include "signup/event/phone.h"
}

#include <cstring>
#include <list>
#include <phonenumbers/logger.h>
#include <phonenumbers/phonenumber.pb.h>
#include <phonenumbers/phonenumberutil.h>
#include <set>
#include <string>

using i18n::phonenumbers::NullLogger;
using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

namespace {

/* ITU-T E.164 section 6: fifteen digits. The library's metadata would let two more pass. */
constexpr size_t kE164BytesMax = 16;
static_assert(kE164BytesMax < PHONE_E164_BYTES, "a whole number has room");

/* N is 2 to 9, X any digit, the rest stands for itself. What has one of these shapes is a possible number
 * of the North American plan, and its E.164 form is +1 and its last ten digits; test_phone.c holds that
 * against the library's answer. */
struct Shape {
    const char *pattern;
    bool national; /* means that only where US is the country */
};
constexpr Shape kShapes[] = {
    {"+1NXXXXXXXXX", false},    {"NXXXXXXXXX", true},         {"1NXXXXXXXXX", true},
    {"(NXX) XXX-XXXX", true},   {"NXX-XXX-XXXX", true},       {"NXX.XXX.XXXX", true},
    {"NXX XXX XXXX", true},     {"+1 NXX XXX XXXX", false},   {"+1 NXX-XXX-XXXX", false},
    {"+1-NXX-XXX-XXXX", false}, {"+1 (NXX) XXX-XXXX", false},
};

PhoneNumberUtil &library()
{
    static PhoneNumberUtil *instance = [] {
        PhoneNumberUtil *made = PhoneNumberUtil::GetInstance();
        made->SetLogger(new NullLogger()); /* taken by the library */
        return made;
    }();
    return *instance;
}

/* Writes "+1" and the digits behind it to `out` when `text` has the shape. */
bool shape_take(const Shape &shape, struct slice text, char *out) noexcept
{
    size_t written = 0;
    out[written++] = '+';
    out[written++] = '1';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char wanted = shape.pattern[i];
        if (wanted != 'N' && wanted != 'X') {
            if (c != wanted)
                return false;
            continue;
        }
        if (c < (wanted == 'N' ? '2' : '0') || c > '9')
            return false;
        out[written++] = c;
    }
    out[written] = '\0';
    return true;
}

size_t by_shape(struct slice text, const char *country, char *out) noexcept
{
    if (text.len < 10 || text.len > 17)
        return 0;
    bool us = std::strcmp(country, "US") == 0;
    for (const Shape &shape : kShapes) {
        if ((us || !shape.national) && std::strlen(shape.pattern) == text.len && shape_take(shape, text, out))
            return 12;
    }
    return 0;
}

/* The digits of what the library read, or 0 where that is not possible as a full national number. */
size_t format(const PhoneNumber &number, char *out) noexcept
{
    const PhoneNumberUtil &util = library();
    /* IS_POSSIBLE_LOCAL_ONLY (seven digits in the US) cannot be dialled from elsewhere: not a full number. */
    if (util.IsPossibleNumberWithReason(number) != PhoneNumberUtil::IS_POSSIBLE)
        return 0;
    std::string e164;
    util.Format(number, PhoneNumberUtil::E164, &e164);
    if (e164.empty() || e164.size() > kE164BytesMax)
        return 0;
    std::memcpy(out, e164.c_str(), e164.size() + 1);
    return e164.size();
}

/* Where letters became digits, possible is too little: any word behind some digits would be a number. Vanity
 * numbers are valid ones, and outside North America of the services that anybody can call, not somebody's
 * own. */
bool is_vanity(const PhoneNumber &number) noexcept
{
    const PhoneNumberUtil &util = library();
    if (!util.IsValidNumber(number))
        return false;
    PhoneNumberUtil::PhoneNumberType type = util.GetNumberType(number);
    return number.country_code() == 1 ||
           (type != PhoneNumberUtil::FIXED_LINE && type != PhoneNumberUtil::MOBILE &&
            type != PhoneNumberUtil::FIXED_LINE_OR_MOBILE);
}

size_t by_library(struct slice text, const char *country, char *out, bool letters, bool *extension) noexcept
{
    out[0] = '\0';
    if (!slice_present(text) || text.len > PHONE_TEXT_BYTES)
        return 0;
    const PhoneNumberUtil &util = library();
    PhoneNumber number;
    if (util.Parse(std::string(text.ptr, text.len), country, &number) != PhoneNumberUtil::NO_PARSING_ERROR)
        return 0;
    if (letters && !is_vanity(number))
        return 0;
    *extension = number.has_extension();
    return format(number, out);
}

size_t by_text(const struct phone_text &text, const char *country, char *out, bool *extension) noexcept
{
    struct slice cleaned = {text.text, text.len};
    size_t len = by_shape(cleaned, country, out);
    return len ? len : by_library(cleaned, country, out, text.letters, extension);
}

/* ---- countries of numbers */

constexpr size_t kCallingCodes = 1000;
constexpr size_t kAreaCodes = 10000; /* of the North American plan: the area code and the digit behind it */

/* What is known of a calling code; two letters are the only country that has it. */
constexpr char kNobody[3] = "";
constexpr char kSeveral[3] = "*";
constexpr char kTheWorld[3] = "+"; /* satellites and the like */

/* By calling code, filled once. */
const char (&calling_codes())[kCallingCodes][3]
{
    static char codes[kCallingCodes][3];
    static bool filled;
    if (filled)
        return codes;
    std::set<int> known;
    library().GetSupportedCallingCodes(&known);
    for (int code : known) {
        std::list<std::string> regions;
        library().GetRegionCodesForCountryCallingCode(code, &regions);
        const char *what = regions.empty()      ? kNobody
                           : regions.size() > 1 ? kSeveral
                                                : regions.front().c_str();
        if (std::strlen(what) > 2)
            what = kTheWorld;
        if (code > 0 && static_cast<size_t>(code) < kCallingCodes)
            std::memcpy(codes[code], what, std::strlen(what) + 1);
    }
    filled = true;
    return codes;
}

/* The digits of the number at `at`, `count` of them, or -1 where it has fewer. */
int digits_of(struct slice e164, size_t at, size_t count) noexcept
{
    int value = 0;
    for (size_t i = at; i < at + count; i++) {
        if (i >= e164.len || e164.ptr[i] < '0' || e164.ptr[i] > '9')
            return -1;
        value = value * 10 + (e164.ptr[i] - '0');
    }
    return value;
}

/* The calling code of the number, or 0: no calling code begins with another one. */
int calling_code_of(struct slice e164) noexcept
{
    const auto &codes = calling_codes();
    for (size_t count = 1; count <= 3 && e164.ptr[1] != '0'; count++) {
        int code = digits_of(e164, 1, count);
        if (code > 0 && codes[code][0])
            return code;
    }
    return 0;
}

/* The library's answer; for a number that its plan does not know (a new area code), the first country of the
 * calling code. */
bool country_of_number(const PhoneNumber &number, char *out) noexcept
{
    const PhoneNumberUtil &util = library();
    std::string region;
    util.GetRegionCodeForNumber(number, &region);
    if (region == "ZZ")
        util.GetRegionCodeForCountryCode(number.country_code(), &region);
    if (region.size() != 2 || region == "ZZ")
        return false;
    std::memcpy(out, region.c_str(), 3);
    return true;
}

bool country_by_library(struct slice e164, char *out) noexcept
{
    PhoneNumber number;
    out[0] = '\0';
    return library().Parse(std::string(e164.ptr, e164.len), "ZZ", &number) ==
               PhoneNumberUtil::NO_PARSING_ERROR &&
           country_of_number(number, out);
}

/* The same for what is E.164 already, without parsing it once more, which is the larger half of the cost. */
bool country_by_digits(struct slice e164, int code, char *out) noexcept
{
    size_t at = 1 + (code >= 100 ? 3 : code >= 10 ? 2 : 1);
    int zeros = 0;
    uint64_t digits = 0;
    PhoneNumber number;
    for (size_t i = at; i < e164.len; i++) {
        if (e164.ptr[i] < '0' || e164.ptr[i] > '9')
            return false;
        digits = digits * 10 + static_cast<uint64_t>(e164.ptr[i] - '0');
        zeros += digits == 0; /* those in front are part of the number where there are any (Italy) */
    }
    if (!digits)
        return false;
    number.set_country_code(code);
    number.set_national_number(digits);
    if (zeros) {
        number.set_italian_leading_zero(true);
        number.set_number_of_leading_zeros(zeros);
    }
    return country_of_number(number, out);
}

/* +1 and ten digits. The country hangs on the area code and one digit more; test_phone.c holds that against
 * the library. */
bool country_of_area(struct slice e164, char *out) noexcept
{
    static char areas[kAreaCodes][3]; /* as they are asked for */
    int area = digits_of(e164, 2, 4);
    if (!areas[area][0] && !country_by_library(e164, areas[area]))
        return false;
    std::memcpy(out, areas[area], 3);
    return true;
}

bool country_of(struct slice e164, char *out) noexcept
{
    out[0] = '\0';
    if (!slice_present(e164) || e164.len < 3 || e164.len > kE164BytesMax || e164.ptr[0] != '+' ||
        digits_of(e164, 1, 1) < 0)
        return false;
    if (e164.ptr[1] == '1')
        return e164.len == 12 && digits_of(e164, 2, 4) >= 0 && country_of_area(e164, out);
    int code = calling_code_of(e164);
    const char *known = code ? calling_codes()[code] : kNobody;
    if (std::strcmp(known, kSeveral) == 0)
        return country_by_digits(e164, code, out);
    if (std::strlen(known) != 2)
        return false;
    std::memcpy(out, known, 3);
    return true;
}

bool known_region(const char *country) noexcept
{
    std::set<std::string> known;
    library().GetSupportedRegions(&known);
    return known.count(country) > 0;
}

} // namespace

extern "C" void phone_library_prepare(void)
{
    library();
}

extern "C" size_t phone_by_shape(struct slice text, const char *country, char out[PHONE_E164_BYTES])
{
    return slice_present(text) ? by_shape(text, country, out) : 0;
}

extern "C" size_t phone_to_e164_by_library(struct slice text, const char *country, char out[PHONE_E164_BYTES])
{
    bool extension;
    return by_library(text, country, out, false, &extension);
}

extern "C" size_t phone_read(struct slice text, const char *country, char out[PHONE_E164_BYTES],
                             bool *extension)
{
    *extension = false;
    size_t len = phone_by_shape(text, country, out);
    if (len)
        return len;
    struct phone_text cleaned;
    struct phone_text abroad;
    bool cut = false;
    out[0] = '\0';
    if (!slice_present(text) || !phone_text_clean(text, &cleaned))
        return 0;
    len = by_text(cleaned, country, out, &cut);
    if (!len && phone_text_from_abroad(&cleaned, &abroad))
        len = by_text(abroad, country, out, &cut);
    *extension = len && (cut || cleaned.extension);
    return len;
}

extern "C" size_t phone_to_e164(struct slice text, const char *country, char out[PHONE_E164_BYTES])
{
    bool extension;
    return phone_read(text, country, out, &extension);
}

extern "C" bool phone_country_known(const char *country)
{
    return country && known_region(country);
}

extern "C" bool phone_country(struct slice e164, char out[3])
{
    return country_of(e164, out);
}

extern "C" bool phone_country_by_library(struct slice e164, char out[3])
{
    return country_by_library(e164, out);
}
