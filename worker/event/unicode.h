/* Characters beyond ASCII that phones, names and parameters arrive with. */
#ifndef SIGNUP_EVENT_UNICODE_H
#define SIGNUP_EVENT_UNICODE_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* The character at `at` (< text.len) and the number of its bytes; 0: no UTF-8 (RFC 3629). */
size_t unicode_take(struct slice text, size_t at, uint32_t *point);

/* Takes no room on the screen: zero width, marks of direction, soft hyphen, byte order mark, variation
 * selectors. They come with numbers and names that were copied from contacts, spreadsheets and chats. */
bool unicode_invisible(uint32_t point);

/* A blank of any width, ASCII's and line ends among them. */
bool unicode_blank(uint32_t point);

/* A hyphen, dash or minus of any width. */
bool unicode_dash(uint32_t point);

/* A control character: C0, DEL or C1. */
bool unicode_control(uint32_t point);

/* The value of a decimal digit of any script, or -1. */
int unicode_digit(uint32_t point);

/* Without blanks and invisible characters around it; a part of `text`, present where that is. */
struct slice unicode_trim(struct slice text);

#endif
