/*
 * doctor_priv.h - what the examinations of `pelorus doctor` share. One thread;
 * they run one after the other and may block.
 */
#ifndef PELORUS_CLI_DOCTOR_DOCTOR_PRIV_H
#define PELORUS_CLI_DOCTOR_DOCTOR_PRIV_H

#include "conf/conf.h"
#include "registry/facts.h"

#define DOCTOR_FINDINGS_MAX 256

struct finding {
    enum fact_verdict verdict;
    char name[48]; /* "configuration", "etcd_size" */
    char where[192];
    char text[512];
    char advice[384]; /* "": none */
};

struct doctor {
    const char *file; /* of the configuration, or NULL */
    const char *urls; /* of the coordinators, or NULL */
    size_t n, count[FACT_PROBLEM + 1];
    struct finding findings[DOCTOR_FINDINGS_MAX];
};

/* One more; `advice` NULL: none. */
void doctor_say(struct doctor *d, enum fact_verdict verdict, const char *name,
                const char *where, const char *advice, const char *fmt, ...)
    PRINTF_LIKE(6, 7);

/* Reads d->file into `conf`: false, it cannot be used (and is closed). */
bool doctor_conf(struct doctor *d, struct conf *conf);
/* Files' modes and limits. */
void doctor_host(struct doctor *d, const struct conf *conf);
/* Takes some seconds, for rates. */
void doctor_store(struct doctor *d, struct conf *conf);
/* Each of d->urls. */
void doctor_api(struct doctor *d);

#endif
