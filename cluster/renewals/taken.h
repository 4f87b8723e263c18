/*
 * taken.h - the value of /pelorus/taken: whom anything was taken from.
 *
 * It is raised by whatever takes anything from a process: INTENT, a leave, and
 * the mark before a registration is removed. A window of renewals is put only
 * at the version that its coordinator knows, and whoever was named since he was
 * verified has to be read again (docs/design/renewals.md; what uses this
 * folder: window.h). Whoever raises it puts it at the version read, or absent,
 * in the txn that takes.
 *
 * Of the last TAKEN_NAMES that were named it knows the hashes of kind and
 * address. Two that have one cost a read; nobody is missed. It counts names,
 * not raises, so that the last k of them are known to have come since it stood
 * k lower.
 *
 * The value, binary: 1 byte format, 1; 1 byte mode, 0 single, 1 grouped; 8
 * bytes how many were ever named; then 8 bytes for each hash, the newest first,
 * as many as were named and at most TAKEN_NAMES. Lowest bytes first. Pure; any
 * thread.
 */
#ifndef PELORUS_CLUSTER_RENEWALS_TAKEN_H
#define PELORUS_CLUSTER_RENEWALS_TAKEN_H

#include "base/buf.h"
#include "cluster/node.h"

#define TAKEN_KEY       "/pelorus/taken"
#define TAKEN_NAMES     256
#define TAKEN_BYTES_MAX (10 + 8 * TAKEN_NAMES)

struct taken {
    bool grouped;   /* renewals may go into windows; else each is a write of
                       its own, because somebody does not read windows */
    uint64_t named; /* names so far, from 0 */
    uint64_t names[TAKEN_NAMES]; /* hashes; that of the nth name, from 0, stands
                                    at n mod TAKEN_NAMES */
};

/* As it is where there is no such key: single, nobody named. */
void taken_init(struct taken *t);

/* ERR_INVALID: what is wrong and where. Then nobody may rest on it: nothing is
 * renewed in a window, and nobody raises it. */
int taken_read(struct taken *out, const void *value, size_t len,
               struct err *err) MUST_CHECK;
/* Appended. */
void taken_write(struct buf *out, const struct taken *t);

/* From now on in groups. While it said `single` somebody may have taken without
 * naming: nobody knows any more who was named before, so that all who were
 * verified until now are read again. */
void taken_begin_groups(struct taken *t);

/* Name one more: any spelling of its address. */
void taken_raise(struct taken *t, enum node_kind kind, const char *address);

/*
 * May this one have been named since `named` stood at `since`? Also true if
 * more were named since then than it knows, or if it stood higher then than
 * now, which it does only in a store that went back.
 */
bool taken_names(const struct taken *t, uint64_t since, enum node_kind kind,
                 const char *address);
/* Is it known who was named since then? If not, everybody may have been. */
bool taken_knows(const struct taken *t, uint64_t since);

#endif
