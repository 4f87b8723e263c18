/*
 * base64.h - bytes as base64 (RFC 4648, 4) with its padding. Any thread, as the
 * buffer is the caller's.
 */
#ifndef PELORUS_BASE_PACK_BASE64_H
#define PELORUS_BASE_PACK_BASE64_H

#include "base/buf.h"

/* Behind what is in `b`. */
void base64_write(struct buf *b, const void *data, size_t len);

#endif
