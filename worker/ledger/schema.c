/* What the schema's version means for this program, in words. */
#include "schema.h"

#include "signup/ledger/ledger.h"

#include <stdio.h>

int ledger_schema_version(void)
{
    return schema_files[schema_file_count - 1].version;
}

bool schema_version_fits(const char *schema, int found, char *why, size_t size)
{
    int needed = ledger_schema_version();
    if (found == needed)
        return true;
    if (found == 0)
        snprintf(
            why, size,
            "the schema \"%s\" holds no ledger yet: run `signup-worker migrate`, or set postgres.auto_migrate: true",
            schema);
    else if (found < needed)
        snprintf(
            why, size,
            "the ledger in schema \"%s\" is of version %d, this program needs %d: run `signup-worker migrate`, or set "
            "postgres.auto_migrate: true",
            schema, found, needed);
    else
        snprintf(
            why, size,
            "the ledger in schema \"%s\" is of version %d, newer than this program's %d: install the newer signup-worker",
            schema, found, needed);
    return false;
}
