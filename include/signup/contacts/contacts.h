/* The contacts API: the real adapter behind struct contacts_port (signup/core/ports.h), over HTTPS on the
 * loop. */
#ifndef SIGNUP_CONTACTS_CONTACTS_H
#define SIGNUP_CONTACTS_CONTACTS_H

#include "signup/core/ports.h"

#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct contacts;

/* Strings are borrowed until contacts_create() has returned. */
struct contacts_config {
    const char *base_url; /* of v2, "https://app.tracklysms.com/api/v2"; http only to a loopback address */
    /* Of v1, another host, by the same rules; NULL or "": validate() gives PORT_AWAY. */
    const char *validation_url;
    bool uses_validation; /* validate() will be called: contacts_check() asks that host too */
    const char *key;      /* NULL or "": from key_file */
    const char *key_file; /* read again when it changes, and after a 401 */
    int64_t timeout_ms;   /* of a call, from its dispatch to its complete answer */
    int64_t connect_timeout_ms; /* of the name lookup, the connect and the TLS handshake within that */
    const char *ca_file;        /* PEM bundle; NULL or "": the system's */
    size_t max_in_flight; /* calls and connections at a time, with each host; further calls wait */
    void (*poke)(void *ctx); /* after each batch of completed calls, on the loop; may be NULL */
    void *poke_ctx;
};

enum contacts_fault {
    CONTACTS_FAULT_NONE,
    CONTACTS_FAULT_CONFIG, /* a setting is wrong (exit 78) */
    CONTACTS_FAULT_FILE,   /* key_file or ca_file is missing or unreadable (exit 66) */
    CONTACTS_FAULT_SYSTEM  /* no memory (exit 71) */
};

struct contacts_error {
    enum contacts_fault fault;
    char text[256]; /* for people: names the setting; never the key */
};

/* Opens no connection yet. NULL: `error` says why. */
struct contacts *contacts_create(struct uv_loop_s *loop, const struct contacts_config *config,
                                 struct contacts_error *error) __attribute__((warn_unused_result));

/* The functions for struct ports; the context is the struct contacts. All give PORT_AWAY once it is closing
 * or when memory is out, read() and validate() also for a phone_number that is not E.164, validate() also
 * without a validation_url. Transport failures are OUTCOME_TRANSPORT with one of these codes: dns_failed,
 * connect_failed, tls_failed, timed_out, connection_lost, broken_answer, answer_too_large, stray_answer,
 * cancelled, client_failed. `maybe_sent` is false only where the request surely did not leave, or was
 * answered completely by something that says what happened, and for every read: it has no effect. Of a
 * validation it says that the look-up may have been paid for; nobody is enrolled by one. */
const struct contacts_port *contacts_functions(void);

/* The key file is read before the next call, whatever its time stamp says. */
void contacts_look_at_key(struct contacts *contacts);

/* Completes everything pending in a later turn of the loop (OUTCOME_TRANSPORT, code "cancelled", honest
 * maybe_sent), closes the connections, frees `contacts`, then calls `closed`. Once. */
void contacts_close(struct contacts *contacts, void (*closed)(void *ctx), void *ctx);

/* ---- for the `contact` command */

/* Everything that the API says about one contact (contacts-api.md section 3). */
struct contacts_look_up_op {
    struct slice phone_number; /* E.164 */
    struct arena *arena;       /* the text goes here */
    /* out */
    struct outcome outcome; /* OUTCOME_ACCEPTED also for a 404 `not_found`: that is an answer */
    bool found;             /* the account knows the contact */
    struct slice contact; /* when found: a JSON object text of the documented fields, in the documented order,
                           * those of another type than documented left out; `lists` is always there, and of
                           * each list its list_number and `active` */
    void (*done)(struct contacts_look_up_op *op);
    void *owner;
};

/* By the completion contract of the ports, PORT_AWAY as for read(). */
enum port_status contacts_look_up(struct contacts *contacts, struct contacts_look_up_op *op) PORT_MUST_CHECK;

/* ---- for the `check` command */

enum contacts_health {
    CONTACTS_WELL,
    CONTACTS_KEY_REFUSED, /* 401, 403 (exit 77) */
    CONTACTS_AWAY,        /* no complete answer, 429 or 5xx (exit 69) */
    CONTACTS_WRONG        /* answers, but not as the contacts API does: base_url (exit 78) */
};
const char *contacts_health_str(enum contacts_health health);

struct contacts_check_op {
    /* out */
    enum contacts_health health;
    int exit_code;         /* of sysexits.h: 0, 69, 77 or 78 */
    char text[640];        /* one line: what is well, or what to do */
    bool validation_asked; /* by `uses_validation`; then the same of phone validation: */
    enum contacts_health validation_health;
    int validation_exit_code;
    char validation_text[640];
    void (*done)(struct contacts_check_op *op);
    void *owner;
};

/* Asks for one contact of the account (contacts-api.md section 4, per_page=1), and with `uses_validation` for
 * a validation without a phone (section 2: 400 `missing_phone` for whoever has a key), which changes nothing
 * and costs nothing. The completion contract is that of the ports: PORT_AWAY means `done` is not called. */
enum port_status contacts_check(struct contacts *contacts, struct contacts_check_op *op) PORT_MUST_CHECK;

/* ---- for metrics; counters since create */

struct contacts_stats {
    uint64_t calls;
    uint64_t connections_opened;
    uint64_t connections_open; /* now */
    uint64_t bytes_sent;       /* without TLS */
    uint64_t bytes_received;
    uint64_t resends_refused; /* hidden repetitions by the HTTP library that were stopped */
    uint64_t strays_refused;  /* connections given up because they held an answer nobody waits for */
    uint64_t lapsed;          /* calls given up before they left, because their lease would not last */
    uint64_t keys_reloaded;
};
void contacts_read_stats(const struct contacts *contacts, struct contacts_stats *out);

#endif
