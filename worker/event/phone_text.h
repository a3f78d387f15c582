/* What people and forms write around a phone number: taken off before libphonenumber reads it, or refused
 * where it is no number. */
#ifndef SIGNUP_EVENT_PHONE_TEXT_H
#define SIGNUP_EVENT_PHONE_TEXT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "signup/base/slice.h"

#include <stdbool.h>

#define PHONE_TEXT_BYTES 250 /* libphonenumber reads nothing longer (its kMaxInputStringLength) */

struct phone_text {
    char text[PHONE_TEXT_BYTES + 1]; /* NUL-terminated */
    size_t len;
    bool extension; /* one was cut off */
    bool letters;   /* letters stand among or behind the digits: a vanity number, or no number at all */
};

/* Digits of every script, full-width signs, blanks and dashes to ASCII; invisible characters, extensions,
 * parameters of a tel: URI, words like "(cell)" behind the number and the ".0" of a spreadsheet cut. False:
 * this is no phone number (two numbers, a date, a social security number, or too long), whatever its digits
 * would make. */
bool phone_text_clean(struct slice text, struct phone_text *out);

/* The same number from outside its country: the prefixes "00" and "011", which the library only knows where
 * they are dialled, to
 * "+", and the "(0)" of "+44 (0)20 …" gone. False: there is nothing of that in `text`. */
bool phone_text_from_abroad(const struct phone_text *text, struct phone_text *out);

#ifdef __cplusplus
}
#endif

#endif
