/*
 * record_priv.h - fields that the records in the registry have in common.
 *
 * Readers are tolerant to unknown and to missing optional fields and strict
 * about everything that is there: a value of another type or out of range is
 * ERR_INVALID with the field's name, never a guess. Each returns its code.
 */
#ifndef PELORUS_WORK_RECORD_PRIV_H
#define PELORUS_WORK_RECORD_PRIV_H

#include "work/record.h"

enum field_need { FIELD_REQUIRED, FIELD_OPTIONAL };

/* The object that `value` holds, or why not; *out is cJSON_Delete()d. */
int field_object(const char *value, size_t len, cJSON **out,
                 struct err *err) MUST_CHECK;

/* Identity: too long is an error. `out` keeps its content when missing. */
int field_text(const cJSON *o, const char *key, enum field_need need, char *out,
               size_t size, struct err *err) MUST_CHECK;

/* Words for people: cut at `size`, at the start of a character. */
int field_words(const cJSON *o, const char *key, char *out, size_t size,
                struct err *err) MUST_CHECK;

int field_u64(const cJSON *o, const char *key, enum field_need need,
              uint64_t max, uint64_t *out, struct err *err) MUST_CHECK;
int field_u32(const cJSON *o, const char *key, uint32_t *out,
              struct err *err) MUST_CHECK;
int field_i64(const cJSON *o, const char *key, int64_t *out,
              struct err *err) MUST_CHECK;
int field_bool(const cJSON *o, const char *key, bool *out,
               struct err *err) MUST_CHECK;

/* RFC 3339 in UTC; null and missing are 0. */
/* "2026-11-22T11:54:47.123Z"; false: it is none. */
int field_time(const cJSON *o, const char *key, wall_ms *out,
               struct err *err) MUST_CHECK;
void put_time(struct buf *b, const char *key, wall_ms at);

/* {"created","startupTime","processId"}; null and missing are unknown. */
int field_process(const cJSON *o, const char *key, struct process *out,
                  struct err *err) MUST_CHECK;
void put_process(struct buf *b, const char *key, const struct process *p);

int field_node_kind(const cJSON *o, enum node_kind *out,
                    struct err *err) MUST_CHECK;
/* master or worker: only they own work. */
int field_owner_kind(const cJSON *o, enum node_kind *out,
                     struct err *err) MUST_CHECK;

/* An address that can own work; "" when missing and optional. */
int field_address(const cJSON *o, const char *key, enum field_need need,
                  char out[NODE_ADDRESS_MAX + 1], struct err *err) MUST_CHECK;

#endif
