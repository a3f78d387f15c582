/* The table of phones. */
#include "phones.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct phone *phones_find(const struct phones *phones, struct slice number)
{
    struct phone *phone = NULL;
    HASH_FIND(hh, phones->table, number.ptr, number.len, phone);
    return phone;
}

static void unlist(struct phones *phones, struct phone *phone)
{
    if (!phone->listed)
        return;
    DL_DELETE(phones->answers, phone);
    phone->listed = false;
    phones->answer_count--;
}

static void forget(struct phones *phones, struct phone *phone)
{
    unlist(phones, phone);
    HASH_DELETE(hh, phones->table, phone);
    free(phone->validation);
    free(phone);
}

struct phone *phones_ask(struct phones *phones, struct slice number, const struct delivery *asker)
{
    struct phone *phone = phones_find(phones, number);
    if (!phone) {
        assert(number.len < sizeof phone->number);
        phone = calloc(1, sizeof *phone);
        if (!phone)
            return NULL;
        memcpy(phone->number, number.ptr, number.len);
        HASH_ADD_KEYPTR(hh, phones->table, phone->number, number.len, phone);
    }
    assert(!phone->asked_by);
    unlist(phones, phone);
    phone->asked_by = asker;
    return phone;
}

void phones_answer(struct phones *phones, struct slice number, const struct delivery *asker, struct slice validation, bool fresh,
                   mono_us_t now)
{
    struct phone *phone = phones_find(phones, number);
    if (!phone || phone->asked_by != asker)
        return;
    phone->asked_by = NULL;
    char *copy = slice_present(validation) ? malloc(validation.len + 1) : NULL;
    if (copy) {
        memcpy(copy, validation.ptr, validation.len);
        copy[validation.len] = '\0';
        free(phone->validation);
        phone->validation = copy;
        phone->validation_len = validation.len;
        phone->fresh = fresh;
        phone->learnt_at = now;
    }
    if (!phone->validation) {
        forget(phones, phone);
        return;
    }
    DL_APPEND(phones->answers, phone);
    phone->listed = true;
    if (++phones->answer_count > PHONES_KEPT)
        forget(phones, phones->answers);
}

void phones_fini(struct phones *phones)
{
    struct phone *phone = phones->table;
    HASH_CLEAR(hh, phones->table); /* leaves the elements and their chain alone */
    while (phone) {
        struct phone *next = phone->hh.next;
        free(phone->validation);
        free(phone);
        phone = next;
    }
    *phones = (struct phones){0};
}
