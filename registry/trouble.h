/*
 * trouble.h - why the store does not serve us, by a name that stays.
 *
 * A backend says what it met (registry_record_trouble, backend.h); what is
 * present is asked here by all who show it: /readyz, /v1/cluster, the code and
 * title of an answer, the log and the command line. The names are a contract:
 * the code of an answer is "registry_" and the name (openapi.yaml lists them).
 *
 * Two kinds. Where nobody was reached there is trouble only once our session
 * is in doubt: a server may be lost without anybody noticing. What a store
 * refuses with a word of its own is trouble at once, and until it is some time
 * that it did so last, or, where the word was about all that we do, until it
 * took a write again.
 */
#ifndef PELORUS_REGISTRY_TROUBLE_H
#define PELORUS_REGISTRY_TROUBLE_H

#include "registry/registry.h"

/*
 * Names, titles (of an answer), advice. `heals`: ends with the next sign of
 * life (registry_answered()); otherwise a store may show that and refuse.
 */
/*     id               name, heals */
#define TROUBLES(X)                                                            \
    X(TROUBLE_NONE, "none", false, "The registry serves", "")                  \
    X(TROUBLE_UNREACHABLE, "unavailable", true,                                \
      "The registry cannot be reached",                                        \
      "is it up, and is its address in the configuration right?")              \
    X(TROUBLE_NO_QUORUM, "no_quorum", true,                                    \
      "No server of the registry can write",                                   \
      "a majority of its servers has to be up and to hear each other")         \
    X(TROUBLE_FULL, "full", false, "The registry has no space left",           \
      "free or add some; of etcd: compact, defragment, then `etcdctl alarm "   \
      "disarm`")                                                               \
    X(TROUBLE_QUOTA, "quota", false, "The registry's quota is used up",        \
      "raise the quota of our namespace, or clean up what counts in it")       \
    X(TROUBLE_THROTTLED, "throttled", false, "The registry throttles us",      \
      "try again; if it lasts, the servers are overloaded")                    \
    X(TROUBLE_CONNECTIONS, "too_many_connections", true,                       \
      "The registry takes no more connections",                                \
      "raise its limit, or end others' connections")                           \
    X(TROUBLE_AUTH_DEMANDED, "authentication_required", true,                  \
      "The registry demands that we authenticate",                             \
      "set the user or digest in the configuration's registry block")          \
    X(TROUBLE_AUTH_REFUSED, "authentication_refused", true,                    \
      "The registry refuses our user or password",                             \
      "correct the user or the password in the configuration's registry "      \
      "block")                                                                 \
    X(TROUBLE_FORBIDDEN, "forbidden", false,                                   \
      "The registry does not permit us what we need",                          \
      "grant our user reading and writing of our namespace")                   \
    X(TROUBLE_TLS_REQUIRED, "tls_required", true, "The registry demands TLS",  \
      "configure it, or give the address of a port without it")                \
    X(TROUBLE_TLS_FAILED, "tls_failed", true, "TLS with the registry fails",   \
      "check the certificates, the name in them, and that the port speaks "    \
      "TLS")                                                                   \
    X(TROUBLE_GATEWAY_OFF, "gateway_off", true,                                \
      "The registry's JSON gateway is switched off",                           \
      "start etcd with --enable-grpc-gateway (its default), and give "         \
      "addresses of its clients' port")                                        \
    X(TROUBLE_READ_ONLY, "read_only", true, "The registry is read only",       \
      "give the address of a server that writes, or let this one write")       \
    X(TROUBLE_TABLES, "tables_missing", false,                                 \
      "The registry's tables, or its database, are missing",                   \
      "make the database, then the tables: pelorus registry init")             \
    X(TROUBLE_OLD_TABLES, "tables_outdated", true,                             \
      "The registry's tables are of an earlier release",                       \
      "alter them as the detail says; nothing has to be restarted")            \
    X(TROUBLE_NO_LOCKS, "no_row_locks", true,                                  \
      "The registry's server keeps no row locks",                              \
      "use MariaDB or MySQL, and ENGINE = InnoDB for all of our tables")       \
    X(TROUBLE_LIMIT, "statement_limit", false,                                 \
      "The registry ends our statements before their time",                    \
      "raise the limit for our user: max_statement_time (MariaDB), "           \
      "max_execution_time (MySQL), transaction_timeout (PostgreSQL)")          \
    X(TROUBLE_LOCKED, "locked", true, "Somebody else locks the registry",      \
      "who has a transaction open? end it")                                    \
    X(TROUBLE_DAMAGED, "damaged", true, "The registry is damaged",             \
      "stop all members and put back a sound copy: docs/going-back.md")        \
    X(TROUBLE_REPLACED, "replaced", true,                                      \
      "The registry's file is not the one that was opened",                    \
      "stop all members before a file is put in its place: "                   \
      "docs/going-back.md")                                                    \
    X(TROUBLE_DESCRIPTORS, "no_descriptors", true,                             \
      "This process has no file descriptors left for the registry",            \
      "raise its limit (LimitNOFILE=, ulimit -n)")                             \
    X(TROUBLE_WENT_BACK, "went_back", false,                                   \
      "The registry is not what it was; a person must accept it",              \
      "see docs/going-back.md, then: pelorus registry accept-restore")         \
    X(TROUBLE_REFUSED, "refused", false, "The registry refuses",               \
      "its own log may say more")

enum trouble {
#define X(id, name, heals, title, advice) id,
    TROUBLES(X)
#undef X
        TROUBLE_N
};

/* By enum trouble. */
extern const struct registry_trouble_text {
    const char *code;   /* of an answer: "registry_quota" */
    const char *name;   /* "quota" */
    const char *title;  /* of an answer */
    const char *advice; /* what to do */
    bool heals;
} registry_trouble_texts[TROUBLE_N];

struct registry_trouble {
    enum trouble what;
    mono_ms since;      /* it is there without a break */
    uint64_t times;     /* met since then */
    const char *detail; /* what was met last; lent until the next turn */
};

/* What is present; false: the store serves us. Loop. */
bool registry_trouble(const struct registry *r, struct registry_trouble *out);

/*
 * How often what lasts is said: at once, after a minute, and then ever rarer,
 * at least hourly. True: now. Begins with {0}; so it does anew for whoever sets
 * it to that again.
 */
struct trouble_pace {
    mono_ms at;
    int64_t gap; /* 0: never said */
};
bool registry_trouble_pace_due(struct trouble_pace *p, mono_ms now);

/*
 * Says in the log what begins, goes on and ends: !store at that pace;
 * +store. For whoever runs for
 * longer, at every turn of his own.
 */
void registry_trouble_tick(struct registry *r);

#endif
