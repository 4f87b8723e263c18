/*
 * image.h - the whole state of a balancer as bytes, and a balancer from them
 * that goes on exactly as the first one would have: the same events give the
 * same answers, bit for bit.
 *
 * What belongs to the state stands in tables in image.c, one line per field;
 * an assert beside each refuses to compile when a struct changed and its table
 * was not looked over. An image is for the build that has the same tables
 * (balancer_image_layout()): another one refuses it.
 */
#ifndef PELORUS_BALANCER_IMAGE_H
#define PELORUS_BALANCER_IMAGE_H

#include "balancer/balancer.h"
#include "base/err.h"
#include "base/pack/pack.h"

/* Of which tables an image consists. */
uint64_t balancer_image_layout(void);

/* Append the state to `out`; it is cut off where `out` overflows. O(workers +
 * picks not ended). Takes the lock. */
void balancer_image(struct balancer *b, struct buf *out);
/* The same for whoever has the lock: a tap (event.h). */
void balancer_image_locked(const struct balancer *b, struct buf *out);

/* The settings alone, as they stand in an image. */
void balancer_settings_pack(const struct conf_balancer *conf,
                            const struct balancer_group_conf *own, size_t n,
                            struct buf *out);
/* *own: memory, also where *n is 0; NULL where it fails. */
int balancer_settings_unpack(struct conf_balancer *conf,
                             struct balancer_group_conf **own, size_t *n,
                             struct unpack *in, struct err *err) MUST_CHECK;
/* Those in force, its policy included. Takes no lock: for a balancer of one's
 * own, or a tap. */
struct conf_balancer balancer_settings(const struct balancer *b);

/* A balancer with the state of an image; NULL: it is damaged, made up or of
 * another build, and `err` (ERR_INVALID) says what is wrong first. Whatever the
 * bytes are: never more memory than 200 times their number and 16 MiB. */
struct balancer *balancer_restore(const void *data, size_t len,
                                  struct err *err) MUST_CHECK;

#endif
