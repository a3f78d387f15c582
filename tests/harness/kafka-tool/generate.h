/*
 * Synthetic signup events. Everything about event number `sequence` follows from the seed and that number,
 * so that a test knows what it produced without keeping it.
 */
#ifndef SIGNUP_HARNESS_KAFKA_TOOL_GENERATE_H
#define SIGNUP_HARNESS_KAFKA_TOOL_GENERATE_H

#include <stddef.h>
#include <stdint.h>

#define GENERATE_EVENT_BYTES 1024
#define GENERATE_PHONE_BYTES 16
#define GENERATE_LISTS_MAX 16

struct generator {
    uint64_t seed;
    uint64_t contacts; /* events share so many phones, in turn; 0: each has its own */
    int list_count;
    char lists[GENERATE_LISTS_MAX][GENERATE_PHONE_BYTES];
};

/* Phones that there are before they repeat. */
uint64_t generate_phone_space(void);

/* Writes the phone number of the event, "+1NXXNXXXXXX". */
void generate_phone(const struct generator *generator, uint64_t sequence, char phone[GENERATE_PHONE_BYTES]);

/* Writes the event as one line of JSON without a newline; returns its length in bytes. */
size_t generate_event(const struct generator *generator, uint64_t sequence, char event[GENERATE_EVENT_BYTES]);

#endif
