/* hook_priv.h - the helper that starts a hook's guard. */
#ifndef PELORUS_FAILOVER_ENGINE_HOOK_PRIV_H
#define PELORUS_FAILOVER_ENGINE_HOOK_PRIV_H

#include "base/compiler.h"

/*
 * The helper's whole life, in a process of its own. Each packet on `line`
 * carries two descriptors: a line for a new guard that runs `command`, and
 * where its output goes. It ends with the last guard when `line` is closed.
 */
void engine_hook_helper(int line, const char *command) NORETURN;

#endif
