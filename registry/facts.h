/*
 * facts.h - what whoever runs a store should know before it hurts: how large
 * it is and may become, how fast it grows, what nobody clears away, what our
 * user may not do.
 *
 * Reading blocks, for some seconds at most, on a connection of its own; so it
 * is done on a thread of its own (coordinator/facts/facts.h) or by a command,
 * and never on the loop. Nothing is decided by it. What a store refuses to tell
 * is FACT_UNKNOWN, never FACT_OK. Any thread, each with structs of its own.
 */
#ifndef PELORUS_REGISTRY_FACTS_H
#define PELORUS_REGISTRY_FACTS_H

#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct conf_registry;

/* The worse, the greater. */
enum fact_verdict { FACT_OK, FACT_UNKNOWN, FACT_WARNING, FACT_PROBLEM };
/* "ok", "unknown", "warning", "problem"; static. */
const char *registry_fact_verdict_name(enum fact_verdict verdict);

/* id, member of the API, metric (a gauge), what it is. NAN: not known, or the
 * store has no such thing. */
#define REGISTRY_FIGURES(X)                                                    \
    X(FIGURE_SIZE, "size_bytes", "pelorus_registry_size_bytes",                \
      "Size of the store on its disk: etcd's database of one member, "         \
      "SQLite's "                                                              \
      "file, our tables.")                                                     \
    X(FIGURE_USED, "used_bytes", "pelorus_registry_used_bytes",                \
      "How much of it is in use; the rest is free and will be used again.")    \
    X(FIGURE_QUOTA, "quota_bytes", "pelorus_registry_quota_bytes",             \
      "How large it may become: etcd's quota, the disk of SQLite's file.")     \
    X(FIGURE_WRITES, "revisions_per_minute",                                   \
      "pelorus_registry_revisions_per_minute",                                 \
      "Revisions (commits) of the store a minute, everybody's.")               \
    X(FIGURE_HISTORY, "history_revisions",                                     \
      "pelorus_registry_history_revisions",                                    \
      "Past revisions that etcd keeps until it is compacted.")                 \
    X(FIGURE_FULL, "full_in_seconds", "pelorus_registry_full_in_seconds",      \
      "When it is full, if it goes on growing as it does.")                    \
    X(FIGURE_LOG, "log_bytes", "pelorus_registry_log_bytes",                   \
      "Size of its logs: binlog, WAL, ZooKeeper's snapshots and logs.")        \
    X(FIGURE_HELD, "held_bytes", "pelorus_registry_held_bytes",                \
      "WAL that replication slots hold which nobody reads.")                   \
    X(FIGURE_CLOCK, "clock_ahead_seconds",                                     \
      "pelorus_registry_clock_ahead_seconds",                                  \
      "By how much the store's clock is ahead of ours.")

enum registry_figure {
#define X(id, name, metric, help) id,
    REGISTRY_FIGURES(X)
#undef X
        REGISTRY_FIGURES_N
};
extern const struct registry_figure_text {
    const char *name, *metric, *help;
} registry_figure_texts[REGISTRY_FIGURES_N];

#define REGISTRY_FACTS_MAX 24
struct registry_fact {
    enum fact_verdict verdict;
    const char *name; /* "etcd_compaction": a contract; static */
    char text[320];   /* what was found */
    char advice[256]; /* what to do; "" where there is nothing */
};

/* What rates are computed from. */
struct registry_sample {
    mono_ms at;        /* 0: none */
    uint64_t position; /* revision, counter */
    double used;       /* FIGURE_USED */
};

struct registry_facts {
    wall_ms at;      /* when they were read; 0: never */
    char where[160]; /* which server or file */
    struct registry_sample sample;
    double figures[REGISTRY_FIGURES_N];
    size_t n;
    struct registry_fact facts[REGISTRY_FACTS_MAX];
};

/* Read them all. `before`: an earlier sample of the same store, at least a
 * second old, or NULL: then there are no rates. What cannot be had is said in
 * a fact. */
void registry_facts_read(const struct conf_registry *conf,
                         const struct registry_sample *before,
                         struct registry_facts *out);

/* --- for the backends ----------------------------------------------------- */

typedef void registry_facts_f(const struct conf_registry *conf,
                              const struct registry_sample *before,
                              struct registry_facts *out);

/* One more; what has no room any more is left out. `advice` NULL: none. */
void registry_fact_say(struct registry_facts *out, enum fact_verdict verdict,
                       const char *name, const char *advice, const char *fmt,
                       ...) PRINTF_LIKE(5, 6);
/* From out->sample and `before`: FIGURE_WRITES, and FIGURE_FULL where size,
 * use and quota are known and the use grows. */
void registry_facts_rates(struct registry_facts *out,
                          const struct registry_sample *before);
/* "1.4 GiB"; "3.2 hours", "5 days". Static sizes. */
#define FACT_SIZE 32
char *registry_fact_bytes(double bytes, char out[FACT_SIZE]);
char *registry_fact_time(double seconds, char out[FACT_SIZE]);
/* FACT_OK, or a warning beyond 2 s (`grain`: how exact the store's clock was
 * told, seconds): clock_difference. */
void registry_fact_clock(struct registry_facts *out, double ahead,
                         double grain);

#endif
