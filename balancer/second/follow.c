/*
 * follow.c - what a second balancer would have answered, one pick at a time,
 * and what it costs to have it follow.
 */
#include "balancer/second/second_priv.h"

#include <string.h>

/* Of all workers, where that is not known. */
#define COST_OF_ALL 500U

size_t second_cost(const struct balancer_event *event)
{
    switch (event->kind) {
    case BALANCER_EVENT_PICK:
        return event->u.pick.request->count;
    case BALANCER_EVENT_SLICE:
        return 1 + (event->u.slice.to - event->u.slice.from) / MEMBERS_AN_EVENT;
    case BALANCER_EVENT_CONFIGURE:
    case BALANCER_EVENT_POLICY:
        return COST_OF_ALL;
    default:
        return 1;
    }
}

size_t second_follow(struct balancer *b, const struct balancer_event *event,
                     struct balancer_pick *picks, size_t *nobody)
{
    const struct balancer_answer *was = event->u.pick.answer;
    struct balancer_answer answer = {.picks = picks};
    size_t same = 0;

    *nobody = 0;
    balancer_follow(b, event->u.pick.request, was, &answer);
    if (event->u.pick.request->peek)
        return 0;
    for (size_t i = 0; i < was->n_picks; i++)
        if (answer.code != BALANCER_OK || picks[i].address[0] == '\0')
            ++*nobody;
        else
            same += strcmp(picks[i].address, was->picks[i].address) == 0;
    return same;
}
