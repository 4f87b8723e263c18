/*
 * dbms_schema.c - making the tables, on request only.
 *
 * Every statement is CREATE ... IF NOT EXISTS or an insert of a row that is
 * missing: it can be repeated, drops nothing, and leaves tables that
 * DolphinScheduler's own scripts have made as they are. The statements
 * themselves stand with each driver.
 */
#include "registry/dbms.h"

#include <string.h>

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

int dbms_schema_apply(struct dbms_target *t, struct err *err)
{
    const struct dbms_driver *driver = t->driver;
    struct dbms_link *link = NULL;
    enum dbms_fault fault = driver->connect(&link, t, err);

    if (fault == DBMS_OK) {
        fault =
            driver->run(link, driver->words->schema,
                        strlen(driver->words->schema), ignore_row, NULL, err);
        driver->close(&link);
    }
    if (fault != DBMS_OK && err != NULL) {
        err->code = fault == DBMS_DENIED ? ERR_DENIED : ERR_UNAVAILABLE;
    }
    return fault == DBMS_OK       ? 0
           : fault == DBMS_DENIED ? ERR_DENIED
                                  : ERR_UNAVAILABLE;
}
