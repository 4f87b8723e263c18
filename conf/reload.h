/*
 * reload.h - SIGHUP: the log's file is opened anew (for logrotate), and what
 * the configuration file says now is taken over as far as a running process
 * can: policy, thresholds and weights of the balancer, groups, limits of the
 * brake and of poison, and the log. All else stays as it is until the next
 * start. A line of the log names every key that differs, and those that wait,
 * secrets as "***"; a file with a mistake in it changes nothing, and each
 * mistake is a line. The loop's thread; it reads a small file.
 */
#ifndef PELORUS_CONF_RELOAD_H
#define PELORUS_CONF_RELOAD_H

#include "conf/conf.h"

/* True: something was taken over into `conf`. */
bool conf_reload_file(struct conf *conf);

#endif
