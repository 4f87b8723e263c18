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
#ifndef PELORUS_BALANCER_POLICY_STRIDE_PRIV_H
#define PELORUS_BALANCER_POLICY_STRIDE_PRIV_H

#include "balancer/balancer_priv.h"

/* Slots of a policy that has a `weight`; its members stand in the group's
 * tree by when they are due. */
policy_place_f balancer_stride_place;
policy_take_f balancer_stride_take;
policy_score_f balancer_stride_score;

#endif
