/*
 * sql_place.h - a server that went back, on the one that sql_store_use() named.
 * The number of failed tests.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_PLACE_H
#define PELORUS_TESTS_REGISTRY_SQL_PLACE_H

int sql_place_tests(void);

#endif
