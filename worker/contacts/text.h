/* Texts from a server made fit for a log line, a ledger row and a header: valid UTF-8, no control characters,
 * phones masked, bounded. */
#ifndef SIGNUP_CONTACTS_TEXT_H
#define SIGNUP_CONTACTS_TEXT_H

#include "signup/base/buf.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest text that text_clean() gives, its NUL included. */
#define TEXT_CLEAN_BYTES 1024

/* Copies `text` with runs of blanks and control characters as one blank, invalid UTF-8 as '?', every phone
 * number masked. Gives at most TEXT_CLEAN_BYTES - 1 bytes, cut at a character's boundary, never in the middle
 * of a number, and a NUL. */
void text_clean(struct slice text, char out[TEXT_CLEAN_BYTES]);

/* As text_clean(), of what a person would see of an HTML page: without tags, styles and scripts. Plain text
 * passes unchanged. */
void text_clean_page(struct slice page, char out[TEXT_CLEAN_BYTES]);

#endif
