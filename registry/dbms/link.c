/*
 * link.c - the connection that is there: closing it, and what is sent on it
 * without an answer that anybody reads.
 */
#include "registry/dbms/dbms_priv.h"

#include <string.h>

void dbms_disconnect(struct dbms *d)
{
    if (d->link != NULL)
        d->target.driver->close(&d->link);
    d->txn.open = d->inside = false;
    assert(d->link == NULL);
}

enum dbms_fault dbms_run_alone(struct dbms *d, const char *sql)
{
    assert(d->link != NULL);
    return d->target.driver->run(d->link, sql, strlen(sql), dbms_ignore_row,
                                 NULL, NULL);
}

void dbms_rollback(struct dbms *d)
{
    assert(d->link != NULL || !d->inside);
    if (d->link != NULL && d->inside &&
        dbms_run_alone(d, "ROLLBACK") != DBMS_OK)
        dbms_disconnect(d); /* then the server does it */
    d->inside = false;
}
