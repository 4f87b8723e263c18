/*
 * record_priv.h - the records in the registry, as tables of their fields.
 *
 * A field stands in a record because it has a row, and in the order of the
 * rows; reading and writing both walk them. What needs more than one field to
 * be judged, its record's own reader judges afterwards.
 *
 * Reading is tolerant to unknown and to missing optional fields (null is
 * missing) and strict about everything that is there: a value of another type
 * or out of range is ERR_INVALID with the field's name, never a guess.
 */
#ifndef PELORUS_WORK_RECORD_PRIV_H
#define PELORUS_WORK_RECORD_PRIV_H

#include "work/record.h"

#include <stddef.h>

/* Of the member that a row is for. */
enum field_type {
    FIELD_ID,      /* char[]: a work id, or one of a failover */
    FIELD_TEXT,    /* char[]: too long is an error */
    FIELD_WORDS,   /* char[]: for people; cut at the start of a character */
    FIELD_ADDRESS, /* char[]: of who can own work, or "" */
    FIELD_NAME,    /* an enum: one of `names` */
    FIELD_KIND,    /* enum node_kind */
    FIELD_OWNER,   /* enum node_kind: master or worker, only they own work */
    FIELD_UINT,    /* uint32_t or uint64_t; from 2^53 on a string */
    FIELD_INT,     /* int64_t; likewise */
    FIELD_HEX,     /* uint64_t: sixteen hexadecimal digits */
    FIELD_EXIT,    /* int: of a process; -1 is null */
    FIELD_BOOL,    /* bool */
    FIELD_TIME,    /* wall_ms: RFC 3339 in UTC; 0 is null */
    FIELD_PROCESS, /* struct process; unknown is null */
    FIELD_PART,    /* an object for more rows of the same struct; ignored if it
                      is none */
    FIELD_LIST,    /* an array of `of`; what is beyond `max` is ignored: a later
                      version may keep more */
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset, size; /* of the member; see FIELD() */
    bool required;       /* missing is an error; written even when empty */
    bool sparse;         /* not written when empty; else null is */
    uint64_t max;        /* a number's, 0: its type's; of names; of a list */
    const char *const *names;         /* by value */
    bool (*when)(const void *record); /* written only then; NULL: always */
    const struct record *of;          /* PART and LIST */
    size_t count;                     /* LIST: offset of its length, a size_t */
};

struct record {
    const struct field *fields;
    size_t n, size; /* of the struct */
};

/* A row: `member` of RECORD, which is #defined before the table; more by
 * designated initialisers. */
#define FIELD(key_, type_, member, ...)                                        \
    {                                                                          \
        .key = key_, .type = FIELD_##type_,                                    \
        .offset = offsetof(struct RECORD, member),                             \
        .size = sizeof(((struct RECORD *)0)->member), __VA_ARGS__              \
    }
#define NAMES(list) .names = list, .max = ARRAY_LEN(list)
#define RECORD_OF(table)                                                       \
    {                                                                          \
        .fields = table, .n = ARRAY_LEN(table), .size = sizeof(struct RECORD)  \
    }

/* From the object that `value` holds into *out, where a missing field stays as
 * it is: make it empty before. */
int work_record_read(const struct record *r, const char *value, size_t len,
                     void *out, struct err *err) MUST_CHECK;
int work_record_take(const struct record *r, const struct json *o, void *out,
                     struct err *err) MUST_CHECK;
/* work_payload_read() of a value that was parsed. */
int work_payload_take(const struct json *value, char **out,
                      struct err *err) MUST_CHECK;
/* The fields of *from behind those that are in `out`, without brackets. */
void work_record_write(const struct record *r, struct buf *out,
                       const void *from);

/* Which of n names; -1: none. */
int work_record_name(const char *const *names, size_t n, const char *name);
extern const char *const work_state_names[WORK_DROPPED + 1];
extern const char *const work_policy_names[WORK_DROP + 1];

#endif
