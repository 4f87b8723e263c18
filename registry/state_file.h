/*
 * state_file.h - where the registry stood when this process last ran.
 *
 * A process that lives knows it; one that starts while nobody else runs would
 * believe whatever it finds. So it is kept in a small file, if there is a
 * directory for it (`state-dir`). It is written off the loop, whole or not at
 * all, and about once a second at most: what is missing of the last second is
 * a bound that is lower, never one that is wrong. That a registry went back is
 * kept, too, for as long as the registry itself could not be made to say it.
 */
#ifndef PELORUS_REGISTRY_STATE_FILE_H
#define PELORUS_REGISTRY_STATE_FILE_H

#include "base/loop.h"
#include "conf/conf.h"
#include "registry/history.h"

struct state_file;

/*
 * `role` and `who` name the file: "coordinator", "10.0.0.1:7077". Reads what
 * is there (*remembered is all zero if nothing is); blocks. Without a state-dir
 * *out is NULL. ERR_INVALID: damaged; ERR_DENIED, ERR_IO: the directory or the
 * file cannot be used; the message says what to do.
 */
int registry_state_file_open(struct state_file **out, struct loop *loop,
                             const struct conf *conf, const char *role,
                             const char *who, struct registry_place *remembered,
                             struct err *err) MUST_CHECK;

/* It stands there now (registry_place()), and why it went back, or NULL, the
 * usual (registry_unmarked()): as often as one likes. Both are copied. NULL for
 * `f` does nothing. */
void registry_state_file_keep(struct state_file *f,
                              const struct registry_place *place,
                              const char *why);
/* Why it went back, as an earlier life kept it; "" nothing. Borrowed until the
 * file is closed. */
const char *registry_state_file_doubted(const struct state_file *f);

/* What was kept last is written; then closed(arg) on the loop: at once, if
 * nothing was ever kept. NULL is fine. */
void registry_state_file_close(struct state_file **f, loop_f *closed,
                               void *arg);

/* What the file holds; for tests of it, too. `why` of HISTORY_WHY_SIZE, as
 * registry_state_file_doubted(). */
int registry_state_file_read(const char *path, struct registry_place *out,
                             char *why, struct err *err) MUST_CHECK;

#endif
