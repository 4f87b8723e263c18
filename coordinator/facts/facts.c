/*
 * facts.c - the thread, and what it says. The lock is held for a copy only;
 * reading the store is done without.
 */
#include "coordinator/facts/facts.h"

#include "base/locks.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <string.h>
#include <time.h>

#define FIRST_MS  1000  /* after the start */
#define SECOND_MS 10000 /* then there are rates */

struct facts {
    const struct conf_registry *conf;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stopping, ended;
    struct registry_facts last;
    /* the thread's */
    struct registry_facts fresh;
    struct registry_sample samples[FACTS_SAMPLES]; /* a ring */
    size_t n_samples;
};

/* --- saying -------------------------------------------------------------- */

static const struct registry_fact *find(const struct registry_facts *facts,
                                        const char *name)
{
    for (size_t i = 0; i < facts->n; i++)
        if (strcmp(facts->facts[i].name, name) == 0)
            return &facts->facts[i];
    return NULL;
}

static void say(const struct registry_fact *was, const struct registry_fact *is)
{
    enum fact_verdict before = was == NULL ? FACT_OK : was->verdict;

    assert(was != is);
    if (is->verdict == before)
        return;
    if (is->verdict >= FACT_WARNING)
        log_warn("!store-fact", LOG_S("fact", is->name),
                 LOG_S("verdict", registry_fact_verdict_name(is->verdict)),
                 LOG_S("reason", is->text), LOG_S("advice", is->advice));
    else
        log_info(is->verdict == FACT_OK ? "+store-fact" : "=store-fact",
                 LOG_S("fact", is->name), LOG_S("reason", is->text),
                 LOG_S("advice", is->advice));
}

/* --- reading ------------------------------------------------------------- */

/* The oldest that is kept. */
static const struct registry_sample *oldest(const struct facts *f)
{
    if (f->n_samples == 0)
        return NULL;
    return &f->samples[f->n_samples < FACTS_SAMPLES
                           ? 0
                           : f->n_samples % FACTS_SAMPLES];
}

/* `last` is written by this thread alone. */
static void read_them(struct facts *f)
{
    registry_facts_read(f->conf, oldest(f), &f->fresh);
    if (f->fresh.sample.position > 0)
        f->samples[f->n_samples++ % FACTS_SAMPLES] = f->fresh.sample;
    for (size_t i = 0; i < f->fresh.n; i++)
        say(find(&f->last, f->fresh.facts[i].name), &f->fresh.facts[i]);
    lock_acquire(&f->lock);
    f->last = f->fresh;
    lock_release(&f->lock);
}

static void after(int64_t ms, struct timespec *at)
{
    (void)clock_gettime(CLOCK_MONOTONIC, at);
    at->tv_sec += ms / 1000;
    at->tv_nsec += ms % 1000 * 1000000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_nsec -= 1000000000;
        at->tv_sec++;
    }
}

/* False: it is over. */
static bool rest(struct facts *f, int64_t ms)
{
    struct timespec until;
    bool stopping;

    after(ms, &until);
    lock_acquire(&f->lock);
    while (!f->stopping &&
           pthread_cond_timedwait(&f->wake, &f->lock, &until) == 0)
        ;
    stopping = f->stopping;
    lock_release(&f->lock);
    return !stopping;
}

static void *run(void *arg)
{
    struct facts *f = arg;
    /* A ZooKeeper that serves one request at a time lost our session when it
     * was asked at the start. Why is not known. */
    int64_t ms = f->conf->type == CONF_ZOOKEEPER ? FACTS_EVERY_MS : FIRST_MS;

    while (rest(f, ms)) {
        read_them(f);
        ms = ms == FIRST_MS ? SECOND_MS : FACTS_EVERY_MS;
    }
    lock_acquire(&f->lock);
    f->ended = true;
    (void)pthread_cond_broadcast(&f->wake);
    lock_release(&f->lock);
    return NULL;
}

/* --- beginning and end --------------------------------------------------- */

struct facts *facts_start(const struct conf_registry *conf)
{
    struct facts *f = mem_zalloc(sizeof(*f));
    pthread_condattr_t how;

    assert(conf != NULL);
    f->conf = conf;
    lock_init(&f->lock);
    (void)pthread_condattr_init(&how);
    (void)pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->wake, &how);
    (void)pthread_condattr_destroy(&how);
    lock_start_thread(&f->thread, run, f);
    return f;
}

void facts_copy(struct facts *f, struct registry_facts *out)
{
    lock_acquire(&f->lock);
    *out = f->last;
    lock_release(&f->lock);
    assert(out->n <= REGISTRY_FACTS_MAX);
}

bool facts_stop(struct facts **f_ptr, int64_t at_most_ms)
{
    struct facts *f = *f_ptr;
    struct timespec until;
    bool ended;

    *f_ptr = NULL;
    if (f == NULL)
        return true;
    assert(at_most_ms >= 0);
    after(at_most_ms, &until);
    lock_acquire(&f->lock);
    f->stopping = true;
    (void)pthread_cond_broadcast(&f->wake);
    while (!f->ended && pthread_cond_timedwait(&f->wake, &f->lock, &until) == 0)
        ;
    ended = f->ended;
    lock_release(&f->lock);
    if (!ended) {
        (void)pthread_detach(f->thread);
        return false;
    }
    (void)pthread_join(f->thread, NULL);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_mutex_destroy(&f->lock);
    mem_free(f);
    return true;
}
