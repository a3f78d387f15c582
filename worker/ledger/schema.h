/* What the schema's version means for this program, in words. */
#ifndef SIGNUP_LEDGER_SCHEMA_H
#define SIGNUP_LEDGER_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

/* One numbered SQL file, built in (worker/ledger/embed.cmake). */
struct schema_file {
    int version;
    const char *name;
    const char *sha256; /* hex, of the file as it is in the source */
    const char *sql;
};
extern const struct schema_file schema_files[];
extern const size_t schema_file_count;

/* `found` is 0 where there is no ledger. False: `why` says what is wrong and what to do. */
bool schema_version_fits(const char *schema, int found, char *why, size_t size);

#endif
