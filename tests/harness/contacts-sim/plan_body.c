/* Bodies that faults send: a gzip bomb made by hand, and an answer about somebody else. */
#include "plan.h"

#include <assert.h>
#include <string.h>

#include "phone.h"

/* Bits enter at the low end of each byte (RFC 1951, 3.1.1). */
struct plan_bits {
    struct buf *out;
    uint32_t pending;
    unsigned count;
};

static void plan_bits_put(struct plan_bits *bits, uint32_t value, unsigned count)
{
    bits->pending |= value << bits->count;
    bits->count += count;
    while (bits->count >= 8) {
        char byte = (char)(bits->pending & 0xff);
        buf_append(bits->out, &byte, 1);
        bits->pending >>= 8;
        bits->count -= 8;
    }
}

/* Huffman codes go highest bit first. */
static void plan_bits_put_code(struct plan_bits *bits, uint32_t code, unsigned count)
{
    while (count--)
        plan_bits_put(bits, (code >> count) & 1, 1);
}

/* CRC-32 of `count` blanks (RFC 1952, 8). */
static uint32_t plan_crc_of_blanks(uint64_t count)
{
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] & 1 ? 0xedb88320u ^ (table[i] >> 1) : table[i] >> 1;
    }
    uint32_t crc = 0xffffffffu;
    for (uint64_t i = 0; i < count; i++)
        crc = table[(crc ^ ' ') & 0xff] ^ (crc >> 8);
    return ~crc;
}

static void plan_append_le32(struct buf *out, uint32_t value)
{
    for (int i = 0; i < 4; i++, value >>= 8) {
        char byte = (char)(value & 0xff);
        buf_append(out, &byte, 1);
    }
}

static void plan_body_build_bomb(struct buf *out, uint64_t expanded)
{
    static const char head[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, (char)0xff};
    struct plan_bits bits = {.out = out};
    uint64_t left = expanded;
    buf_append(out, head, sizeof head);
    plan_bits_put(&bits, 1, 1); /* the last block */
    plan_bits_put(&bits, 1, 2); /* fixed Huffman codes (RFC 1951, 3.2.6) */
    if (left) {
        plan_bits_put_code(&bits, 0x30 + ' ', 8);
        left--;
    }
    while (left >= 258) { /* length 258 is symbol 285 without extra bits; distance 1 is code 0 */
        plan_bits_put_code(&bits, 0xc0 + (285 - 280), 8);
        plan_bits_put_code(&bits, 0, 5);
        left -= 258;
    }
    for (; left; left--)
        plan_bits_put_code(&bits, 0x30 + ' ', 8);
    plan_bits_put_code(&bits, 0, 7); /* end of block */
    if (bits.count)
        plan_bits_put(&bits, 0, 8 - bits.count);
    plan_append_le32(out, plan_crc_of_blanks(expanded));
    plan_append_le32(out, (uint32_t)expanded);
}

static struct {
    struct buf body;
    uint64_t expanded;
} plan_bomb;

const struct buf *plan_body_bomb(uint64_t expanded_bytes)
{
    if (!plan_bomb.body.len || plan_bomb.expanded != expanded_bytes) {
        buf_clear(&plan_bomb.body);
        plan_body_build_bomb(&plan_bomb.body, expanded_bytes);
        plan_bomb.expanded = expanded_bytes;
    }
    return &plan_bomb.body;
}

void plan_prepare_bomb(uint64_t expanded_bytes)
{
    const struct buf *body = plan_body_bomb(expanded_bytes);
    assert(body->len > 18);
}

void plan_free_bomb(void)
{
    buf_fini(&plan_bomb.body);
}

void plan_body_other_contact(const struct call *call, struct buf *out)
{
    if (call->op == CALL_UPSERT || call->op == CALL_OTHER || !call->phone) {
        buf_append_str(out, "{\"success\":true,\"contact_id\":\"c999999999\","
                            "\"list_contact_id\":\"lc999999999\","
                            "\"is_new_contact\":true,\"is_new_list_contact\":true,\"journeys_enrolled\":0}");
        return;
    }
    char mine[PHONE_TEXT_BYTES], other[PHONE_TEXT_BYTES];
    phone_format(call->phone, mine);
    phone_format(call->phone % 10 == 9 ? call->phone - 9 : call->phone + 1, other);
    size_t len = strlen(mine);
    const char *at = call->answer.data;
    const char *end = at + call->answer.len;
    while (at < end) {
        const char *hit = memmem(at, (size_t)(end - at), mine, len);
        buf_append(out, at, (size_t)((hit ? hit : end) - at));
        if (!hit)
            break;
        buf_append_str(out, other);
        at = hit + len;
    }
}
