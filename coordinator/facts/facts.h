/*
 * facts.h - keeps reading what whoever runs the registry's store should know
 * (registry/facts.h), on a thread of its own: soon after the start (of
 * ZooKeeper a minute later), and then every FACTS_EVERY_MS. What becomes a
 * warning or a problem, and what cannot be known, is said in the log, once each
 * time that it begins; its end, too.
 */
#ifndef PELORUS_COORDINATOR_FACTS_FACTS_H
#define PELORUS_COORDINATOR_FACTS_FACTS_H

#include "registry/facts.h"

#define FACTS_EVERY_MS 60000
/* Rates are of the last so many reads: ten minutes. */
#define FACTS_SAMPLES 10

struct facts;

/* Borrows `conf` until facts_stop() has returned true. */
struct facts *facts_start(const struct conf_registry *conf);

/* The last ones; at == 0: none yet. Any thread. */
void facts_copy(struct facts *f, struct registry_facts *out);

/* Waits at most `at_most_ms`. False: the thread hangs in a read, and is left to
 * itself; `conf` has to stay. *f is NULL then; NULL in it is fine (true). */
bool facts_stop(struct facts **f, int64_t at_most_ms);

#endif
