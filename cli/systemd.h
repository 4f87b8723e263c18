/*
 * systemd.h - telling systemd how we are, by the protocol of sd_notify(3).
 *
 * Its page describes the protocol, calls it stable and asks daemons that take
 * nothing else of libsystemd to speak it themselves; the library brings seven
 * others into the process.
 */
#ifndef PELORUS_CLI_SYSTEMD_H
#define PELORUS_CLI_SYSTEMD_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1": to the socket that $NOTIFY_SOCKET
 * names. Nothing if there is none, or nobody listens. */
void systemd_notify(const char *state);

/* Within which time it wants to hear WATCHDOG=1 again and again, or takes our
 * loop for stuck and starts us anew; 0: it does not. */
int64_t systemd_watchdog_ms(void);

#endif
