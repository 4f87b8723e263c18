/*
 * jdbc_priv.h - the four parts of reading a JDBC URL. From above, each calls
 * those behind it alone: its frame (jdbc_url.c), its hosts (jdbc_hosts.c; an
 * address may hold parameters), its parameters (jdbc_parameters.c), and what is
 * done with their texts (jdbc_text.c).
 */
#ifndef PELORUS_CONF_JDBC_PRIV_H
#define PELORUS_CONF_JDBC_PRIV_H

#include "conf/jdbc_url.h"

/* "what; write jdbc:mysql://..." */
int conf_jdbc_bad(const struct jdbc_url *url, const char *what,
                  struct err *err);

/* %xx and '+' as the driver of this URL reads them, in place; MariaDB's reads
 * neither. */
int conf_jdbc_decode(const struct jdbc_url *url, char *text,
                     struct err *err) MUST_CHECK;

/* The text between the slashes (writable). */
int conf_jdbc_hosts(struct jdbc_url *url, char *text,
                    struct err *err) MUST_CHECK;

/* One parameter, decoded. */
int conf_jdbc_parameter(struct jdbc_url *url, const char *name,
                        const char *value, struct err *err) MUST_CHECK;
/* After the last: what several of them mean together. */
void conf_jdbc_parameters_end(struct jdbc_url *url);

#endif
