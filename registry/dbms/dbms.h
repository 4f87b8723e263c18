/*
 * dbms.h - a registry in tables of MySQL, MariaDB or PostgreSQL, named by a
 * JDBC URL.
 */
#ifndef PELORUS_REGISTRY_DBMS_DBMS_H
#define PELORUS_REGISTRY_DBMS_DBMS_H

#include "registry/backend.h"
#include "registry/facts.h"

registry_open_f dbms_jdbc_open;
registry_facts_f dbms_facts;

/* What registry_schema() promises. */
int dbms_jdbc_schema(const struct conf_registry *conf, bool apply,
                     const char **text, struct err *err) MUST_CHECK;

#endif
