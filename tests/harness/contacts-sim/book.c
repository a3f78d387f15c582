/* The book: an append-only NDJSON file of everything the simulator was asked and did. */
#include "book.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "faults.h"
#include "phone.h"

bool book_open(struct book *book, const char *path, bool with_bodies)
{
    *book = (struct book){.fd = -1, .with_bodies = with_bodies};
    if (!path)
        return true;
    book->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (book->fd < 0)
        return false;
    book->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    book->digest = EVP_MD_CTX_new();
    if (!book->sha256 || !book->digest)
        abort();
    return true;
}

void book_close(struct book *book)
{
    book_flush(book);
    if (book->fd >= 0)
        close(book->fd);
    EVP_MD_CTX_free(book->digest);
    EVP_MD_free(book->sha256);
    buf_fini(&book->pending);
    book->fd = -1;
}

void book_flush(struct book *book)
{
    size_t at = 0;
    while (at < book->pending.len) {
        ssize_t written = write(book->fd, book->pending.data + at, book->pending.len - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fprintf(stderr, "contacts-sim: cannot write the book: %s\n", strerror(errno));
            _exit(EX_IOERR); /* an answer without its line must not leave */
        }
        at += (size_t)written;
    }
    buf_clear(&book->pending);
}

static void book_text(struct buf *line, const char *name, const struct buf *value)
{
    buf_append_str(line, name);
    buf_append_json(line, value->data, value->len);
}

static void book_flag(struct buf *line, const char *name, enum call_flag flag)
{
    buf_append_str(line, name);
    buf_append_str(line, flag == CALL_FLAG_ABSENT ? "null" : flag == CALL_FLAG_TRUE ? "true" : "false");
}

static void book_begin(struct buf *line, int64_t at_us, const char *phase, uint64_t seq, uint64_t conn_id)
{
    buf_append_str(line, "{");
    if (seq) {
        buf_append_str(line, "\"seq\":");
        buf_append_u64(line, seq);
        buf_append_str(line, ",");
    }
    buf_append_str(line, "\"at_us\":");
    buf_append_i64(line, at_us);
    buf_append_str(line, ",\"phase\":\"");
    buf_append_str(line, phase);
    buf_append_str(line, "\",\"conn\":");
    buf_append_u64(line, conn_id);
}

static void book_subject(struct buf *line, const struct call *call)
{
    buf_append_str(line, ",\"op\":\"");
    buf_append_str(line, call_op_str(call->op));
    buf_append_str(line, "\"");
    book_text(line, ",\"phone\":", &call->phone_text);
    book_text(line, ",\"list\":", &call->list_text);
    if (call->fault) {
        buf_append_str(line, ",\"fault\":");
        buf_append_json(line, call->fault->label, strlen(call->fault->label));
    }
}

static void book_effect(struct buf *line, const struct call_effect *effect)
{
    buf_append_str(line, ",\"applied\":");
    buf_append_bool(line, effect->applied);
    buf_append_str(line, ",\"enrolled\":");
    buf_append_u64(line, effect->enrolled);
    buf_append_str(line, ",\"is_new_contact\":");
    buf_append_bool(line, effect->new_contact);
    buf_append_str(line, ",\"is_new_list_contact\":");
    buf_append_bool(line, effect->new_list_contact);
    buf_append_str(line, ",\"lookups\":");
    buf_append_u64(line, effect->lookups);
    buf_append_str(line, ",\"paid_lookups\":");
    buf_append_u64(line, effect->paid_lookups);
    if (effect->disposition[0]) {
        buf_append_str(line, ",\"disposition\":");
        buf_append_json(line, effect->disposition, strlen(effect->disposition));
    }
}

static void book_digest(struct book *book, const struct buf *body)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[32];
    char text[64];
    if (!EVP_DigestInit_ex2(book->digest, book->sha256, NULL) ||
        !EVP_DigestUpdate(book->digest, body->data, body->len) || !EVP_DigestFinal_ex(book->digest, digest,
                                                                      NULL))
        abort();
    for (size_t i = 0; i < sizeof digest; i++) {
        text[2 * i] = hex[digest[i] >> 4];
        text[2 * i + 1] = hex[digest[i] & 15];
    }
    buf_append_str(&book->pending, ",\"body_sha256\":\"");
    buf_append(&book->pending, text, sizeof text);
    buf_append_str(&book->pending, "\"");
}

void book_note_received(struct book *book, const struct call *call)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    book_begin(line, call->received_us, "received", call->seq, call->conn_id);
    book_subject(line, call);
    buf_append_str(line, ",\"method\":\"");
    buf_append_str(line, call->method);
    buf_append_str(line, "\"");
    book_text(line, ",\"path\":", &call->target);
    book_flag(line, ",\"use_journeys\":", call->use_journeys);
    book_flag(line, ",\"skip_journey_if_exists\":", call->skip_journey_if_exists);
    book_flag(line, ",\"use_validation\":", call->use_validation);
    book_flag(line, ",\"force\":", call->force);
    if (call->host == CALL_HOST_VALIDATION)
        buf_append_str(line, ",\"host\":\"validation\"");
    book_effect(line, &call->effect);
    buf_append_str(line, ",\"code\":");
    buf_append_json(line, call->code, strlen(call->code));
    buf_append_str(line, ",\"overlap\":");
    buf_append_bool(line, call->overlap);
    if (call->traceparent.len)
        book_text(line, ",\"traceparent\":", &call->traceparent);
    buf_append_str(line, ",\"body_bytes\":");
    buf_append_u64(line, call->body.len);
    book_digest(book, &call->body);
    if (book->with_bodies)
        book_text(line, ",\"body\":", &call->body);
    buf_append_str(line, "}\n");
}

void book_note_answered(struct book *book, const struct call *call, int64_t at_us, bool whole)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    book_begin(line, at_us, "answered", call->seq, call->conn_id);
    book_subject(line, call);
    buf_append_str(line, ",\"status\":");
    buf_append_i64(line, call->status);
    buf_append_str(line, ",\"whole\":");
    buf_append_bool(line, whole);
    buf_append_str(line, "}\n");
}

void book_note_end(struct book *book, const struct call *call, int64_t at_us, const char *phase)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    book_begin(line, at_us, phase, call->seq, call->conn_id);
    book_subject(line, call);
    buf_append_str(line, "}\n");
}

void book_note_effect(struct book *book, const struct call *call, int64_t at_us,
                      const struct call_effect *effect,
                      long index, uint64_t phone, uint64_t list, const char *code)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    char text[PHONE_TEXT_BYTES];
    book_begin(line, at_us, "effect", call->seq, call->conn_id);
    buf_append_str(line, ",\"op\":\"");
    buf_append_str(line, call_op_str(call->op));
    buf_append_str(line, "\",\"phone\":\"");
    if (phone) {
        phone_format(phone, text);
        buf_append_str(line, text);
    }
    buf_append_str(line, "\",\"list\":\"");
    if (list) {
        phone_format(list, text);
        buf_append_str(line, text);
    }
    buf_append_str(line, "\"");
    if (index >= 0) {
        buf_append_str(line, ",\"index\":");
        buf_append_i64(line, index);
    }
    book_effect(line, effect);
    if (code) {
        buf_append_str(line, ",\"code\":");
        buf_append_json(line, code, strlen(code));
    }
    buf_append_str(line, "}\n");
}

void book_note_connection(struct book *book, uint64_t conn_id, int64_t at_us, const char *phase, uint64_t seq,
                          const char *fault)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    book_begin(line, at_us, phase, seq, conn_id);
    if (fault) {
        buf_append_str(line, ",\"fault\":");
        buf_append_json(line, fault, strlen(fault));
    }
    buf_append_str(line, "}\n");
}

void book_note_control(struct book *book, const struct call *call)
{
    if (book->fd < 0)
        return;
    struct buf *line = &book->pending;
    book_begin(line, call->received_us, "control", 0, call->conn_id);
    buf_append_str(line, ",\"method\":\"");
    buf_append_str(line, call->method);
    buf_append_str(line, "\"");
    book_text(line, ",\"path\":", &call->target);
    if (!json_is_null(call->json) && call->body.len)
        book_text(line, ",\"body\":", &call->body);
    buf_append_str(line, "}\n");
}
