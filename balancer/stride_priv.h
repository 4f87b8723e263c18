/*
 * stride_priv.h - turns in proportion to weights, in O(log n) per pick: the
 * common part of the two weighted round robins.
 *
 * Smooth weighted round robin as nginx does it adds every weight at every
 * pick. The same order comes from due times (stride scheduling, Waldspurger
 * and Weihl, 1995): a member of weight w is due every CYCLE/w of virtual time,
 * and the earliest due is picked. In one CYCLE each is picked exactly w times,
 * evenly spaced.
 *
 * There is no credit to hoard: who could not be picked for a while starts as
 * a newcomer, and who was excluded by requests is never more than one turn
 * behind.
 */
#ifndef PELORUS_BALANCER_STRIDE_PRIV_H
#define PELORUS_BALANCER_STRIDE_PRIV_H

#include "balancer/balancer_priv.h"

/* Always positive and finite. */
typedef double stride_weight_f(const struct group *g, const struct account *a);

void balancer_stride_place(struct group *g, uint32_t from, uint32_t to,
                           stride_weight_f *weight);

policy_choose_f balancer_stride_choose;
policy_take_f balancer_stride_take;
policy_score_f balancer_stride_score;
policy_resize_f balancer_stride_resize;
policy_close_f balancer_stride_close;

#endif
