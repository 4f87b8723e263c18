/*
 * open.c - which backend a configuration means: who opens it, and who reads its
 * facts (facts.h), with what those who read them share.
 *
 * The only file that names the backends, so that a program which opens one by
 * itself (the simulator) does not link the others.
 */
#include "conf/conf.h"
#include "registry/dbms/dbms.h"
#include "registry/etcd/etcd.h"
#include "registry/sqlite/sqlite.h"
#include "registry/zookeeper/zookeeper.h"

#include "registry/facts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum conf_registry_type type;
    registry_open_f *open;
    registry_facts_f *facts;
} backends[] = {
    {CONF_SQLITE, sqlite_open, sqlite_facts},
    {CONF_ZOOKEEPER, zookeeper_open, zookeeper_facts},
    {CONF_ETCD, etcd_open, etcd_facts},
    {CONF_JDBC, dbms_jdbc_open, dbms_facts},
};

int registry_open(struct registry **out, struct loop *loop,
                  const struct conf_registry *conf, struct err *err)
{
    assert(out != NULL && loop != NULL);
    assert(conf != NULL);
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (backends[i].type == conf->type)
            return backends[i].open(out, loop, conf, err);
    return err_set(err, ERR_INVALID,
                   "registry.type: %s cannot be served by this pelorus; "
                   "use sqlite, zookeeper, etcd or jdbc",
                   conf_registry_type_name(conf->type));
}

int registry_schema(const struct conf_registry *conf, bool apply,
                    const char **text, struct err *err)
{
    assert(conf != NULL);
    if (conf->type != CONF_JDBC) {
        return err_set(
            err, ERR_INVALID,
            "registry.type: %s needs no schema; start `pelorus serve`",
            conf_registry_type_name(conf->type));
    }
    return dbms_jdbc_schema(conf, apply, text, err);
}

int registry_vacuum(const struct conf_registry *conf, bool live, char *done,
                    size_t size, struct err *err)
{
    const char *what = "";

    assert(conf != NULL);
    assert(size > 0);
    switch (conf->type) {
    case CONF_SQLITE:
        return sqlite_vacuum(conf->path, live, done, size, err);
    case CONF_ETCD:
        what = "there: `etcdctl compact REVISION`, then `etcdctl defrag` one "
               "member at a time; for good --auto-compaction-retention=1h";
        break;
    case CONF_ZOOKEEPER:
        what = "there: zkCleanup.sh on each server; for good "
               "autopurge.purgeInterval=1 in zoo.cfg";
        break;
    case CONF_JDBC:
        what = "there: OPTIMIZE TABLE pelorus_registry (MySQL, MariaDB), or "
               "VACUUM pelorus_registry (PostgreSQL, which does so by itself)";
        break;
    case CONF_MEMORY:
        break;
    }
    return err_set(err, ERR_INVALID,
                   "registry.type: %s has no file of ours to vacuum; %s",
                   conf_registry_type_name(conf->type), what);
}

/* --- facts --------------------------------------------------------------- */

#define CLOCK_MAX_S 2.0
#define RATE_MIN_MS 1000

const struct registry_figure_text registry_figure_texts[REGISTRY_FIGURES_N] = {
#define X(id, name, metric, help) {name, metric, help},
    REGISTRY_FIGURES(X)
#undef X
};

const char *registry_fact_verdict_name(enum fact_verdict verdict)
{
    static const char *const names[] = {"ok", "unknown", "warning", "problem"};

    assert((size_t)verdict < ARRAY_LEN(names));
    return names[verdict];
}

void registry_fact_say(struct registry_facts *out, enum fact_verdict verdict,
                       const char *name, const char *advice, const char *fmt,
                       ...)
{
    struct registry_fact *f = &out->facts[out->n];
    va_list args;

    assert(name[0] != '\0');
    assert(out->n <= REGISTRY_FACTS_MAX);
    if (out->n == REGISTRY_FACTS_MAX)
        return;
    out->n++;
    f->verdict = verdict;
    f->name = name;
    (void)snprintf(f->advice, sizeof(f->advice), "%s",
                   advice == NULL ? "" : advice);
    va_start(args, fmt);
    (void)vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
}

void registry_facts_rates(struct registry_facts *out,
                          const struct registry_sample *before)
{
    const double *f = out->figures;
    double minutes, growth;

    assert(out->sample.at > 0);
    if (before == NULL || before->at == 0 ||
        out->sample.at - before->at < RATE_MIN_MS ||
        out->sample.position < before->position)
        return;
    minutes = (double)(out->sample.at - before->at) / 60000;
    out->figures[FIGURE_WRITES] =
        (double)(out->sample.position - before->position) / minutes;
    growth = (out->sample.used - before->used) / (minutes * 60);
    if (isfinite(growth) && growth > 0 && isfinite(f[FIGURE_QUOTA]) &&
        f[FIGURE_QUOTA] > f[FIGURE_USED])
        out->figures[FIGURE_FULL] = (f[FIGURE_QUOTA] - f[FIGURE_USED]) / growth;
}

char *registry_fact_bytes(double bytes, char out[FACT_SIZE])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    assert(bytes >= 0);
    for (; bytes >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        bytes /= 1024;
    (void)snprintf(out, FACT_SIZE,
                   unit == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes,
                   units[unit]);
    return out;
}

char *registry_fact_time(double seconds, char out[FACT_SIZE])
{
    assert(seconds >= 0);
    if (seconds < 5400)
        (void)snprintf(out, FACT_SIZE, "%.0f minutes", seconds / 60);
    else if (seconds < 48 * 3600.0)
        (void)snprintf(out, FACT_SIZE, "%.1f hours", seconds / 3600);
    else
        (void)snprintf(out, FACT_SIZE, "%.0f days", seconds / 86400);
    return out;
}

void registry_fact_clock(struct registry_facts *out, double ahead, double grain)
{
    bool far = fabs(ahead) > CLOCK_MAX_S + grain;

    assert(isfinite(ahead));
    assert(grain >= 0);
    out->figures[FIGURE_CLOCK] = ahead;
    registry_fact_say(
        out, far ? FACT_WARNING : FACT_OK, "clock_difference",
        far ? "let both hosts follow one clock (chrony, ntp); nothing of ours "
              "depends on it, logs and DolphinScheduler do"
            : NULL,
        "the store's clock is %.1f s %s ours", fabs(ahead),
        ahead < 0 ? "behind" : "ahead of");
}

void registry_facts_read(const struct conf_registry *conf,
                         const struct registry_sample *before,
                         struct registry_facts *out)
{
    assert(conf != NULL);
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < REGISTRY_FIGURES_N; i++)
        out->figures[i] = NAN;
    out->at = clock_wall_ms();
    out->sample.at = clock_mono_ms();
    out->sample.used = NAN;
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (backends[i].type == conf->type)
            backends[i].facts(conf, before, out);
    assert(out->n <= REGISTRY_FACTS_MAX);
}
