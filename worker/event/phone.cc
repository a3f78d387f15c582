/* Phone numbers to E.164: the one C++ file, a shim on libphonenumber with exact shapes in front of it.
 *
 * What calls the library is noexcept: the library throws only for want of memory, and then the process
 * must end rather than call somebody's number invalid. */
#include "phone_library.h"

extern "C" {
#include "signup/event/phone.h"
}

#include <cstring>
#include <phonenumbers/logger.h>
#include <phonenumbers/phonenumber.pb.h>
#include <phonenumbers/phonenumberutil.h>
#include <set>
#include <string>

using i18n::phonenumbers::NullLogger;
using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

namespace {

/* The library reads nothing longer (its kMaxInputStringLength). */
constexpr size_t kTextBytesMax = 250;

/* N is 2 to 9, X any digit, the rest stands for itself. What has one of these shapes is a possible number
 * of the North American plan, and its E.164 form is +1 and its last ten digits; test_phone.c holds that
 * against the library's answer. */
struct Shape {
    const char *pattern;
    bool national; /* means that only where US is the country */
};
constexpr Shape kShapes[] = {
    {"+1NXXXXXXXXX", false}, {"NXXXXXXXXX", true},     {"1NXXXXXXXXX", true},      {"(NXX) XXX-XXXX", true},
    {"NXX-XXX-XXXX", true},  {"NXX.XXX.XXXX", true},   {"NXX XXX XXXX", true},     {"+1 NXX XXX XXXX", false},
    {"+1 NXX-XXX-XXXX", false}, {"+1-NXX-XXX-XXXX", false}, {"+1 (NXX) XXX-XXXX", false},
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

size_t by_library(struct slice text, const char *country, char *out) noexcept
{
    out[0] = '\0';
    if (!slice_present(text) || text.len > kTextBytesMax)
        return 0;
    const PhoneNumberUtil &util = library();
    PhoneNumber number;
    if (util.Parse(std::string(text.ptr, text.len), country, &number) != PhoneNumberUtil::NO_PARSING_ERROR)
        return 0;
    /* IS_POSSIBLE_LOCAL_ONLY (seven digits in the US) cannot be dialled from elsewhere: not a full number. */
    if (util.IsPossibleNumberWithReason(number) != PhoneNumberUtil::IS_POSSIBLE)
        return 0;
    std::string e164;
    util.Format(number, PhoneNumberUtil::E164, &e164);
    if (e164.empty() || e164.size() >= PHONE_E164_BYTES)
        return 0;
    std::memcpy(out, e164.c_str(), e164.size() + 1);
    return e164.size();
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

extern "C" size_t phone_to_e164_by_library(struct slice text, const char *country, char out[PHONE_E164_BYTES])
{
    return by_library(text, country, out);
}

extern "C" size_t phone_to_e164(struct slice text, const char *country, char out[PHONE_E164_BYTES])
{
    size_t len = slice_present(text) ? by_shape(text, country, out) : 0;
    return len ? len : by_library(text, country, out);
}

extern "C" bool phone_country_known(const char *country)
{
    return country && known_region(country);
}
