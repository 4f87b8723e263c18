/*
 * event.h - what happens to a balancer, as data.
 *
 * Every call that changes a balancer, or whose answer rests on a draw, is an
 * event. A balancer is a function of its seed and of its events in order: one
 * that is given the same ones answers the same. Whoever taps a balancer hears
 * of each event once it was applied: a journal keeps them, a second balancer
 * tries another policy on them, a replay applies those that were kept.
 *
 * Times are told, never read: milliseconds of the caller's clock.
 */
#ifndef PELORUS_BALANCER_EVENT_H
#define PELORUS_BALANCER_EVENT_H

#include "balancer/balancer.h"
#include "base/pack/pack.h"

enum balancer_event_kind {
    BALANCER_EVENT_BASIS, /* to a tap only: all before this is in `state` */
    BALANCER_EVENT_SET,
    BALANCER_EVENT_REMOVE,
    BALANCER_EVENT_DEFINE,
    BALANCER_EVENT_CONFIGURE,
    BALANCER_EVENT_POLICY,
    BALANCER_EVENT_FREEZE,
    BALANCER_EVENT_HOLD,
    BALANCER_EVENT_COORDINATORS,
    BALANCER_EVENT_CLOCK, /* time passed */
    BALANCER_EVENT_SLICE, /* some members of a group were judged anew */
    BALANCER_EVENT_RENEW, /* all of a group's, if that was due */
    BALANCER_EVENT_PICK,
    BALANCER_EVENT_END,
    BALANCER_EVENT_COUNT,
    BALANCER_EVENT_OWN,
};
#define BALANCER_EVENTS 16

enum balancer_end { BALANCER_DONE, BALANCER_REFUSED, BALANCER_UNUSED };

/* Borrowed from whoever made it, for the call that it is handed to. */
struct balancer_event {
    enum balancer_event_kind kind;
    mono_ms now; /* as told; 0 of those that tell no time */
    union {
        const struct balancer *basis;
        const struct balancer_worker *set;
        const char *remove; /* an address */
        struct {
            const char *const *names;
            size_t n;
        } define;
        struct {
            const struct conf_balancer *conf;
            const struct balancer_group_conf *own; /* `n` of them */
            size_t n;
        } configure;
        enum conf_policy policy;
        bool freeze, hold;
        uint32_t coordinators;
        struct {
            const char *group;
            uint32_t from, to; /* places, from .. to-1 */
        } slice;
        const char *renew; /* a group; NULL: "default" */
        struct {
            const struct balancer_request *request;
            const struct balancer_answer *answer; /* to a tap; else NULL */
        } pick;
        struct {
            pick_id pick;
            enum balancer_end how;
        } end;
        struct {
            const char *address;
            int delta;
        } count;
        struct {
            const char *address;
            uint32_t items;
        } own;
    } u;
};

/* Do what the event says, as the function of its name does. `answer` is that
 * of a pick, with room for its picks; NULL for all other kinds. Not for
 * BALANCER_EVENT_BASIS. Threads: those of the function; slices and the like are
 * the loop's. */
void balancer_apply(struct balancer *b, const struct balancer_event *event,
                    struct balancer_answer *answer);

/* A pick as this balancer would answer it, into `answer`; and what happened
 * instead: the tasks go to the workers in the slots of `was`, as another
 * balancer with the same workers answered then, under its ids. So that who
 * would decide otherwise once goes on in the same world. Picks that this one
 * would not answer have no address. Any thread. */
void balancer_follow(struct balancer *b, const struct balancer_request *request,
                     const struct balancer_answer *was,
                     struct balancer_answer *answer);

/* Called under the balancer's lock, in the order in which events took effect:
 * it must be short, wait for nothing and call no function of this balancer,
 * but those that say so. */
typedef void balancer_tap_f(void *arg, const struct balancer_event *event);

#define BALANCER_TAPS_MAX 4

/* From now on `tap` hears of every event, of BALANCER_EVENT_BASIS first. At
 * most BALANCER_TAPS_MAX at once. Any thread. */
void balancer_tap(struct balancer *b, balancer_tap_f *tap, void *arg);
/* When it returns, that tap is not called again. Nothing if there is no such
 * tap. Any thread. */
void balancer_untap(struct balancer *b, balancer_tap_f *tap, void *arg);
/* Let that tap have a BALANCER_EVENT_BASIS now, between two events. Any
 * thread. */
void balancer_tap_basis(struct balancer *b, balancer_tap_f *tap, void *arg);

/*
 * What a worker reported as bytes, all but its address: for a journal's
 * records, and for what waits in memory. Times are told by how far they are
 * from `now`, the same for who writes and who reads. Pure.
 */
void balancer_worker_put(const struct balancer_worker *w, mono_ms now,
                         struct buf *out);
/* All but the address of *w; its groups point into the bytes, by way of a list
 * as below. What no balancer of ours could have told makes `in` bad. */
void balancer_worker_get(struct balancer_worker *w, mono_ms now,
                         struct unpack *in, const char ***list, size_t *cap);
/* Times there are within so many milliseconds of `now`. */
#define PACKED_TIME_MAX (INT64_C(1) << 53)

/* A count and as many texts of pack_text(): returns how many. `*list` is the
 * caller's, from mem.h, with room for `*cap`, and grows as needed. */
size_t balancer_names_get(struct unpack *in, const char ***list, size_t *cap);

#endif
